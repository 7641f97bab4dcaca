"""crm-sync sandbox: what it says if it cannot start. The tutorial's blocks show that it serves."""

import socket

from click.testing import CliRunner

from crm_sync.cli import crm_sync


def test_a_port_that_is_taken_is_named_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = CliRunner().invoke(crm_sync, ["sandbox", "brevo", "--port", str(port)])
    assert answer.exit_code == 1
    assert answer.output.startswith(f"Error: cannot listen on port {port}: ")
    assert answer.output.endswith(": choose another --port\n")
