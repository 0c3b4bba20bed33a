internal import NIOCore

/// Why a listener could not open, as a sentence for the operator.
package enum ListenError: Error, Equatable, CustomStringConvertible {
    case inUse(host: String, port: Int)
    case failed(host: String, port: Int, reason: String)

    package var description: String {
        switch self {
        case .inUse(let host, let port):
            "port \(port) of \(host) is in use; stop what uses it, or choose another "
                + "(AURUM_HTTP_PORT, AURUM_METRICS_ADDRESS)"
        case .failed(let host, let port, let reason): "cannot listen on \(host):\(port): \(reason)"
        }
    }

    /// Runs a listener; what the socket refuses becomes a `ListenError`.
    static func naming(host: String, port: Int, _ body: () async throws -> Void) async throws {
        do { try await body() } catch let error as IOError {
            // 98 is EADDRINUSE of Linux.
            throw error.errnoCode == 98
                ? ListenError.inUse(host: host, port: port)
                : ListenError.failed(host: host, port: port, reason: "\(error)")
        } catch let error as SocketAddressError {
            throw ListenError.failed(host: host, port: port, reason: "\(error)")
        }
    }
}
