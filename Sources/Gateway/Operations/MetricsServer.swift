internal import HTTPTypes
internal import Hummingbird
package import Logging
internal import NIOCore
package import Runtime
internal import ServiceLifecycle
package import Telemetry

/// Prometheus text on a listener of its own, so that scraping and traffic never share a queue or an address.
package struct MetricsServer: Service {
    private let application: Application<RouterResponder<BasicRequestContext>>
    private let host: String
    private let port: Int

    /// - Parameter cluster: the counts of all nodes, on a path of their own: who scrapes every node would add them up
    ///   again.
    package init(
        host: String, port: Int, registry: MetricRegistry, process: ProcessMetrics, cluster: any SharedMetrics,
        logger: Logger
    ) {
        self.host = host
        self.port = port
        let router = Router()
        router.get("/metrics") { _, _ in
            process.refresh()
            return Self.answer(.ok, registry.prometheusText())
        }
        router.get("/metrics/cluster") { _, _ in
            do throws(SharedMetricsError) { return Self.answer(.ok, try await cluster.text()) } catch {
                return Self.answer(
                    .serviceUnavailable, "# Redis, which holds the counts of all nodes, does not answer.\n")
            }
        }
        application = Application(
            router: router, configuration: .init(address: .hostname(host, port: port), serverName: nil), logger: logger)
    }

    private static func answer(_ status: HTTPResponse.Status, _ text: String) -> Response {
        Response(
            status: status, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
            body: .init(byteBuffer: ByteBuffer(string: text)))
    }

    /// - Throws: `ListenError` when the port cannot be opened.
    package func run() async throws {
        try await ListenError.naming(host: host, port: port) { try await application.run() }
    }
}
