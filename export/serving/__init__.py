"""An embedded development server that speaks TF Serving's REST and gRPC APIs.

Imports run one way: statuses <- servable, tensors, config <- manager <- predict <- rest, rpc <-
server. Only `rest` needs aiohttp, of the extra `serve`.
"""
