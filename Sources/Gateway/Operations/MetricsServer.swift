internal import HTTPTypes
internal import Hummingbird
package import Logging
internal import NIOCore
internal import ServiceLifecycle
package import Telemetry

/// Prometheus text on a listener of its own, so that scraping and traffic never share a queue or an address.
package struct MetricsServer: Service {
    private let application: Application<RouterResponder<BasicRequestContext>>
    private let host: String
    private let port: Int

    package init(host: String, port: Int, registry: MetricRegistry, process: ProcessMetrics, logger: Logger) {
        self.host = host
        self.port = port
        let router = Router()
        router.get("/metrics") { _, _ in
            process.refresh()
            return Response(
                status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                body: .init(byteBuffer: ByteBuffer(string: registry.prometheusText())))
        }
        application = Application(
            router: router, configuration: .init(address: .hostname(host, port: port), serverName: nil), logger: logger)
    }

    /// - Throws: `ListenError` when the port cannot be opened.
    package func run() async throws {
        try await ListenError.naming(host: host, port: port) { try await application.run() }
    }
}
