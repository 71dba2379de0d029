"""The REST routes and the WebSocket endpoints, a subject each. `views_api` gathers
them."""
