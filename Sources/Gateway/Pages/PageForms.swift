internal import Accounts
internal import AurumCore
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import Runtime

/// Pages with forms that work without a script. A random value stands in a cookie and in each form: what does not bring
/// both alike was not sent from a page of ours.
struct PageForms: Sendable {
    let pages: PageRenderer

    private static let csrfCookie = "aurum_csrf"

    /// - Parameter request: the tabs of a browser share the value that it brings; nil makes a fresh one.
    func page(
        _ template: String, _ values: [String: JSONValue], status: HTTPResponse.Status = .ok, in request: Request?
    ) throws -> Response {
        let known = SignIns.value(of: Self.csrfCookie, in: request?.headers[.cookie]).flatMap { SessionToken($0)?.text }
        let csrf = known ?? SignIns.randomToken()
        var values = values
        values["csrf"] = .string(csrf)
        var response = try pages.page(template, values, status: status)
        response.headers[values: .setCookie].append(
            "\(Self.csrfCookie)=\(csrf); Path=/; HttpOnly; SameSite=Strict; Max-Age=3600")
        return response
    }

    /// The fields of a form, whoever sent it.
    static func fields(_ request: Request, limit: Int = 8192) async throws -> [String: String] {
        let body = try await RequestInput.body(request, limit: limit)
        var fields: [String: String] = [:]
        for pair in String(buffer: body).split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                .map { $0.replacingOccurrences(of: "+", with: " ").removingPercentEncoding ?? "" }
            if parts.count == 2 { fields[parts[0]] = parts[1] }
        }
        return fields
    }

    static func isOurs(_ fields: [String: String], _ request: Request) -> Bool {
        guard let expected = SignIns.value(of: csrfCookie, in: request.headers[.cookie]) else { return false }
        return fields["csrf"] == expected
    }

    static func redirect(_ path: String) -> Response { Response(status: .seeOther, headers: [.location: path]) }

    /// To the sign-in, and back to where the request was going.
    static func signIn(_ request: Request) -> Response { redirect("/login?next=" + escaped(request.uri.string)) }

    /// A path with its query, for the query of another: links to questions survive the sign-in.
    private static func escaped(_ path: String) -> String {
        path.addingPercentEncoding(withAllowedCharacters: .alphanumerics.union(CharacterSet(charactersIn: "/-._~")))
            ?? "/dashboard"
    }
}

extension Problem {
    /// The form was left open too long, or came from elsewhere.
    static let formExpired = Problem.badQuery(name: "csrf", detail: "the form had expired; go back and try again.")
}
