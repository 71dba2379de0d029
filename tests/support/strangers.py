"""Programs of others, run against an endpoint: nostr_sdk and, in Node, nostr-tools."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


async def stranger(*command: str) -> dict[str, Any]:
    """Run a program that prints what it has seen."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 40)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    result: dict[str, Any] = json.loads(output)
    return result


async def nostr_sdk(scenario: str, url: str, *more: str) -> dict[str, Any]:
    program = str(HERE / "sdk_stranger.py")
    return await stranger(sys.executable, program, scenario, url, *more)


async def nostr_tools(node: str, scenario: str, url: str, *more: str) -> dict[str, Any]:
    return await stranger(node, str(HERE / "node/stranger.mjs"), scenario, url, *more)
