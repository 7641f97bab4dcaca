-- The search_path of this session.
SHOW search_path
