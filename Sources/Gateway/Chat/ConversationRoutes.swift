internal import Accounts
internal import AurumCore
internal import Conversation
internal import Foundation
internal import Hummingbird

/// Conversations for people: list, read, transcript, slots, take-over, reply and return.
struct ConversationRoutes: Sendable {
    let access: Access
    let conversations: ConversationService

    private static let missing = Problem.notFound(
        code: "conversation_unknown", detail: "There is no such conversation.")

    func register(in book: RouteBook) {
        book.get(
            "/v1/conversations",
            RouteDescription(
                "Conversations, newest first.", tag: "conversations", scope: .conversationsRead,
                query: ["limit": "1 to 200, 50 unless told."])
        ) { request, _ in
            let principal = try access.require(.conversationsRead, request)
            let limit = try RequestInput.integer("limit", request, in: 1...200, standard: 50)
            let rows = try await conversations.list(org: principal.org, limit: limit)
            return .json(["conversations": .array(rows.map(\.json))])
        }
        reading("", "One conversation.", in: book) { org, id in
            guard let row = try await conversations.read(org: org, id: id) else { throw Self.missing }
            return row.json
        }
        reading("/transcript", "Everything that was said and decided.", in: book) { org, id in
            ["transcript": .array(try await conversations.transcript(org: org, id: id).map(\.json))]
        }
        reading("/slots", "What is known, with its provenance.", in: book) { org, id in
            ["slots": .array(try await conversations.slots(org: org, id: id).map(\.json))]
        }
        changing("take-over", "A person takes the conversation over.", ["display_name": "Kim"], in: book) {
            principal, id, body in
            let fence = try await conversations.takeOver(
                org: principal.org, id: id, by: principal.keyID, displayName: body["display_name"]?.string ?? "Our team"
            )
            return ["fence": .integer(Int64(fence))]
        }
        changing("return", "The person gives it back to the bot.", [:], in: book) { principal, id, _ in
            [
                "fence": .integer(
                    Int64(try await conversations.giveBack(org: principal.org, id: id, by: principal.keyID)))
            ]
        }
        changing(
            "messages", "A person replies under the fence of the take-over.", ["text": "Hello", "fence": 2], in: book
        ) {
            principal, id, body in
            guard let text = body["text"]?.string, let fence = body["fence"]?.integer else {
                throw Problem.invalid([FieldProblem(field: "text, fence", detail: "both are needed")])
            }
            try await conversations.reply(
                org: principal.org, id: id, text: text, by: principal.keyID, fence: Int(fence))
            return ["status": "sent"]
        }
    }

    private func reading(
        _ suffix: String, _ summary: String, in book: RouteBook,
        _ answer: @escaping @Sendable (String, UID) async throws -> JSONValue
    ) {
        book.get(
            "/v1/conversations/{id}\(suffix)",
            RouteDescription(summary, tag: "conversations", scope: .conversationsRead)
        ) { request, context in
            let principal = try access.require(.conversationsRead, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            return .json(try await answer(principal.org, id))
        }
    }

    private func changing(
        _ verb: String, _ summary: String, _ example: JSONValue, in book: RouteBook,
        _ change: @escaping @Sendable (Principal, UID, JSONValue) async throws -> JSONValue
    ) {
        book.post(
            "/v1/conversations/{id}/\(verb)",
            RouteDescription(summary, tag: "conversations", scope: .conversationsReply, body: example)
        ) { request, context in
            let principal = try access.require(.conversationsReply, request)
            let id = try RequestInput.uid("id", context, missing: Self.missing)
            let body =
                request.headers[.contentLength] == "0" ? [:] : try await RequestInput.json(request, limit: 65_536)
            do {
                return .json(try await change(principal, id, body))
            } catch let error as ConversationError { throw Problem(error) }
        }
    }
}

extension Problem {
    init(_ error: ConversationError) {
        switch error {
        case .unknownConversation:
            self = .notFound(code: "conversation_unknown", detail: "There is no such conversation.")
        case .closed: self = .conflict(code: "conversation_closed", detail: "The conversation is closed.")
        case .staleFence:
            self = .conflict(code: "stale_fence", detail: "Somebody else owns the conversation by now; read it again.")
        case .rateLimited(let milliseconds): self = .rateLimited(retryAfterSeconds: max(1, (milliseconds + 999) / 1000))
        case .tooLarge: self = .bodyTooLarge(limitBytes: 65_536)
        case .unavailable: self = .unavailable(code: "conversation_unavailable", detail: "Try again in a moment.")
        }
    }
}
