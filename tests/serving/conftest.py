from server.fixtures import client, engine_config, live, one_thread, serve, shared_live, table_reader, tiny_model

__all__ = ["client", "engine_config", "live", "one_thread", "serve", "shared_live", "table_reader", "tiny_model"]
