"""wsrelay: WebSocket connections as processes."""
