package import AurumCore
package import Database
internal import Foundation

/// A lead as it is stored. Holds personal data.
package struct LeadRow: RowDecodable, Sendable {
    package let org: String
    package let id: UID
    package let type: String
    package let traceID: UID
    package let conversationID: UID?
    package let state: LeadState
    package let score: Int
    package let tier: String
    package let probabilityMillionths: Int64
    package let gates: [String]
    package let name: PersonName?
    package let phone: PhoneNumber?
    package let email: EmailAddress?
    package let zip: String?
    package let phoneStatus: ContactStatus
    package let emailStatus: ContactStatus
    package let attributes: [String: LeadAttribute]
    package let source: LeadSource
    package let certificateID: UID?
    package let duplicateOf: UID?
    package let createdAt: Timestamp
    package let updatedAt: Timestamp

    package init(row: Row) throws {
        org = try row.get("org")
        id = try row.get("id")
        type = try row.get("type")
        traceID = try row.get("trace_id")
        conversationID = try row.optional("conversation_id")
        state = try row.choice("state")
        score = try row.get("score")
        tier = try row.get("tier")
        probabilityMillionths = try row.get("probability_ppm")
        gates = try row.get("gates", as: JSONValue.self).array?.compactMap(\.string) ?? []
        name = try row.optional("name", as: String.self).flatMap { PersonName($0) }
        phone = try row.optional("phone", as: String.self).flatMap { PhoneNumber($0) }
        email = try row.optional("email", as: String.self).flatMap { EmailAddress($0) }
        zip = try row.optional("zip")
        phoneStatus = try row.choice("phone_status")
        emailStatus = try row.choice("email_status")
        attributes = LeadRow.attributes(try row.get("attributes"))
        source = try row.decoded("source")
        certificateID = try row.optional("certificate_id")
        duplicateOf = try row.optional("duplicate_of")
        createdAt = try row.get("created_at")
        updatedAt = try row.get("updated_at")
    }

    /// Values alone, as buyers and filters see them.
    package var values: [String: JSONValue] { attributes.mapValues(\.value) }

    static func json(_ attributes: [String: LeadAttribute]) -> JSONValue {
        .object(
            attributes.mapValues { attribute in
                var members: [String: JSONValue] = ["value": attribute.value]
                members["evidence"] = attribute.evidence.map(JSONValue.string)
                return .object(members)
            })
    }

    private static func attributes(_ json: JSONValue) -> [String: LeadAttribute] {
        (json.object ?? [:]).compactMapValues { member in
            member["value"].map { LeadAttribute($0, evidence: member["evidence"]?.string) }
        }
    }
}

extension Row {
    /// A text column that holds one case of an enumeration.
    func choice<Choice: RawRepresentable>(_ column: String) throws -> Choice where Choice.RawValue == String {
        let text = try get(column, as: String.self)
        guard let choice = Choice(rawValue: text) else {
            throw RowError.wrongType(column: column, expected: "\(Choice.self)", found: "text")
        }
        return choice
    }

    /// A JSON column as a value of ours.
    func decoded<Value: Decodable>(_ column: String) throws -> Value {
        do {
            return try JSONDecoder().decode(Value.self, from: Data(try get(column, as: String.self).utf8))
        } catch let error as RowError {
            throw error
        } catch {
            throw RowError.wrongType(column: column, expected: "\(Value.self)", found: "text")
        }
    }
}

/// JSON text of a value of ours, keys sorted.
func jsonText(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}
