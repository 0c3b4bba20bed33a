internal import Accounts
internal import AurumCore
internal import Foundation
internal import HTTPTypes

/// The OpenAPI 3.1 document, made from the routes themselves.
enum OpenAPI {
    static func document(_ entries: [RouteBook.Entry], version: String) -> JSONValue {
        var paths: [String: [String: JSONValue]] = [:]
        for entry in entries {
            paths[entry.path, default: [:]][entry.method.rawValue.lowercased()] = operation(entry)
        }
        return [
            "openapi": "3.1.0",
            "info": [
                "title": "Aurum", "version": .string(version),
                "description": "Capture events, talk with visitors, sell leads, attribute every dollar.",
                "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
            ],
            "servers": [["url": "/"]],
            "paths": .object(paths.mapValues { .object($0) }),
            "components": [
                "securitySchemes": [
                    "bearer": ["type": "http", "scheme": "bearer"],
                    "basic": ["type": "http", "scheme": "basic", "description": "The key as user name, no password."],
                    "session": ["type": "apiKey", "in": "cookie", "name": .string(SignIns.cookieName)],
                ],
                "schemas": ["Problem": problemSchema],
            ],
        ]
    }

    private static func operation(_ entry: RouteBook.Entry) -> JSONValue {
        let description = entry.description
        var members: [String: JSONValue] = [
            "summary": .string(description.summary), "tags": [.string(description.tag)],
            "operationId": .string(operationID(entry)),
            "responses": [
                String(description.success): ["description": "Success."],
                "default": [
                    "description": "A problem document.",
                    "content": ["application/problem+json": ["schema": ["$ref": "#/components/schemas/Problem"]]],
                ],
            ],
        ]
        let parameters = pathParameters(entry.path) + queryParameters(description.query)
        if !parameters.isEmpty { members["parameters"] = .array(parameters) }
        if let scope = description.scope {
            members["security"] = [["bearer": []], ["basic": []], ["session": []]]
            members["x-aurum-scope"] = .string(scope.rawValue)
        }
        if let body = description.body {
            members["requestBody"] = [
                "required": true,
                "content": .object([description.bodyType: ["schema": ["type": "object"], "example": body]]),
            ]
        }
        return .object(members)
    }

    private static func operationID(_ entry: RouteBook.Entry) -> String {
        let words = entry.path.split { !$0.isLetter && !$0.isNumber }.map(\.capitalized)
        return entry.method.rawValue.lowercased() + (words.isEmpty ? "Root" : words.joined())
    }

    private static func pathParameters(_ path: String) -> [JSONValue] {
        path.split(separator: "/").filter { $0.hasPrefix("{") }.map { part in
            [
                "name": .string(String(part.dropFirst().dropLast())), "in": "path", "required": true,
                "schema": ["type": "string"],
            ]
        }
    }

    private static func queryParameters(_ query: [String: String]) -> [JSONValue] {
        query.sorted { $0.key < $1.key }.map { name, sentence in
            [
                "name": .string(name), "in": "query", "required": false, "description": .string(sentence),
                "schema": ["type": "string"],
            ]
        }
    }

    /// RFC 9457 with our code and request id.
    private static let problemSchema: JSONValue = [
        "type": "object", "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": [
            "type": ["type": "string"], "title": ["type": "string"], "status": ["type": "integer"],
            "detail": ["type": "string"], "code": ["type": "string"], "request_id": ["type": "string"],
            "offset": ["type": "integer"],
            "problems": [
                "type": "array",
                "items": [
                    "type": "object",
                    "properties": ["field": ["type": "string"], "detail": ["type": "string"]],
                ],
            ],
        ],
    ]
}
