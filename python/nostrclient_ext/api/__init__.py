"""The REST routes and the WebSocket endpoints, a file for each subject. `views_api`
gathers them."""
