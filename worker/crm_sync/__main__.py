from crm_sync.cli import main

main()
