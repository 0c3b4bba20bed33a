internal import AurumCore
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import Mustache
internal import NIOCore

/// The pages' templates, parsed once at start, and the headers every page carries.
package struct PageRenderer: Sendable {
    private let library: MustacheLibrary
    private let version: String

    /// - Throws: the parser's error when a template is wrong; start is refused.
    package init(version: String) throws {
        var templates: [String: MustacheTemplate] = [:]
        for name in Asset.names(in: "web/") where name.hasSuffix(".mustache") {
            let bare = String(name.dropFirst("web/".count).dropLast(".mustache".count))
            templates[bare] = try MustacheTemplate(string: Asset.text(name))
        }
        library = MustacheLibrary(templates: templates)
        self.version = "\(version)-\(StaticFiles.digest)"
    }

    /// Renders a page. A fresh nonce allows exactly the scripts and styles the template names.
    ///
    /// A section shows for an object, for each entry of a list, for text and for true; not for false, null and nothing.
    func page(
        _ template: String, _ values: [String: JSONValue], status: HTTPResponse.Status = .ok
    ) throws -> Response {
        let nonce = SignIns.randomToken()
        var all = values
        all["nonce"] = .string(nonce)
        all["version"] = .string(version)
        guard let html = library.render(all.compactMapValues(\.rendered), withTemplate: template) else {
            throw Problem.internalError
        }
        var headers = HTTPFields()
        headers[.contentType] = "text/html; charset=utf-8"
        headers[.contentSecurityPolicy] =
            "default-src 'none'; script-src 'nonce-\(nonce)'; style-src 'nonce-\(nonce)'; img-src 'self' data:; "
            + "connect-src 'self' ws: wss:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(string: html)))
    }
}

extension JSONValue {
    /// What templates are filled with; nil for null.
    fileprivate var rendered: Any? {
        switch self {
        case .null: nil
        case .bool(let value): value
        case .integer, .number: canonical
        case .string(let text): text
        case .array(let values): values.map { $0.rendered ?? "" }
        case .object(let members): members.compactMapValues(\.rendered)
        }
    }
}

/// Files served as they are, with an ETag of their content.
struct StaticFiles: Sendable {
    struct File: Sendable {
        let body: ByteBuffer
        let type: String
        let etag: String
        let crossOrigin: Bool
        let maxAgeSeconds: Int
    }

    /// By path.
    let files: [String: File]

    init() {
        var files: [String: File] = [:]
        for name in Asset.names(in: "web/") where !name.hasSuffix(".mustache") {
            guard let bytes = Asset.bytes(name), let type = Self.type(of: name) else { continue }
            let bare = name.dropFirst("web/".count)
            let tracker = bare == "tracker.js"
            let file = File(
                body: ByteBuffer(bytes: bytes), type: type, etag: Self.etag(bytes), crossOrigin: tracker,
                maxAgeSeconds: tracker ? 3600 : 86_400)
            files[tracker ? "/aurum.js" : "/assets/\(bare)"] = file
            if bare == "favicon.svg" { files["/favicon.ico"] = file }
        }
        self.files = files
    }

    func response(_ file: File, _ request: Request) -> Response {
        var headers = HTTPFields()
        headers[.contentType] = file.type
        headers[.eTag] = file.etag
        headers[.cacheControl] = "public, max-age=\(file.maxAgeSeconds)"
        if file.crossOrigin {
            headers[.accessControlAllowOrigin] = "*"
            headers[.crossOriginResourcePolicy] = "cross-origin"
        }
        if request.headers[.ifNoneMatch] == file.etag { return Response(status: .notModified, headers: headers) }
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: file.body))
    }

    /// Changes when any file does, so that a browser's cached copy is never stale.
    static let digest: String = {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for name in Asset.names(in: "web/") {
            for byte in Asset.bytes(name).map(etag)?.utf8 ?? "".utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        }
        return String(String(hash, radix: 16).prefix(8))
    }()

    private static func type(of name: String) -> String? {
        switch name.split(separator: ".").last {
        case "css": "text/css; charset=utf-8"
        case "js": "text/javascript; charset=utf-8"
        case "svg": "image/svg+xml"
        default: nil
        }
    }

    /// FNV-1a over the bytes: tells versions apart, guards nothing.
    private static func etag(_ bytes: UnsafeRawBufferPointer) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return "\"\(String(hash, radix: 16))\""
    }
}
