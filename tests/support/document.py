"""What the endpoints say to who comes without a WebSocket (NIP-11)."""

import httpx

NOSTR = {"Accept": "application/nostr+json"}


async def get(url: str, **headers: str) -> httpx.Response:
    url = url.replace("ws://", "http://", 1)
    async with httpx.AsyncClient(headers=headers) as anyone:
        return await anyone.get(url)
