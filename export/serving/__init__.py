"""An embedded development server that speaks TF Serving's REST and gRPC APIs.

Imports run one way: statuses, flags <- tensors, configs, metrics <- batching, examples <- servable
<- manager <- calls, page, image_bodies <- rest, rpc <- server <- command; configs <- export_cache
<- exporter <- command. aiohttp, grpcio, orjson, prometheus-client and uvloop come with the extra
`serve`.
"""
