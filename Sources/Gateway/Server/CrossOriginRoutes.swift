internal import HTTPTypes
internal import Hummingbird
internal import Synchronization

/// The routes that pages of other origins call. Their refusals carry the headers of their answers: a browser hides the
/// status and the `Retry-After` of what lacks them, and the page takes a refusal for a network that failed.
package final class CrossOriginRoutes: Sendable {
    /// Method and path; filled while routes are registered.
    private let routes = Mutex<Set<String>>([])

    package init() {}

    func add(_ method: HTTPRequest.Method, _ path: String) {
        _ = routes.withLock { $0.insert(Self.name(method, RouterPath(path).description)) }
    }

    /// - Parameter endpoint: the path that the router found; nil where none is registered.
    func hold(_ request: Request, endpoint: String?) -> Bool {
        guard let endpoint else { return false }
        // HEAD does what GET does.
        let method = request.method == .head ? .get : request.method
        return routes.withLock { $0.contains(Self.name(method, endpoint)) }
    }

    /// Lets the page that asked read an answer. Whether its origin may use the key is the key's question.
    static func allow(_ request: Request, _ headers: inout HTTPFields) {
        guard let origin = request.headers[.origin] else { return }
        headers[.accessControlAllowOrigin] = origin
        headers[.vary] = "Origin"
        headers[.accessControlExposeHeaders] = "Aurum-Receipt, Retry-After"
    }

    private static func name(_ method: HTTPRequest.Method, _ path: String) -> String { "\(method.rawValue) \(path)" }
}
