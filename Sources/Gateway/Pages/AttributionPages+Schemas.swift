internal import Accounts
internal import Attribution
internal import AurumCore
internal import Foundation
internal import Hummingbird

/// Schemas of Apple's conversion values: what each app's values mean, in versions.
extension AttributionPages {
    private static let schemaPage = "schemas"
    private static let example = """
        {
          "fine": [
            {"from": 0, "events": ["install"]},
            {"from": 1, "to": 63, "events": ["purchase"], "revenue_min_minor": 100, "revenue_max_minor": 5000}
          ],
          "coarse": [{"value": "high", "events": ["purchase"], "revenue_max_minor": 9900}]
        }
        """

    func registerSchemas(in book: RouteBook) {
        let page = Page(
            name: Self.schemaPage, summary: "Schemas of Apple's conversion values by app, and a form that saves one.",
            show: { try await showSchemas($0) }, change: { try await changeSchemas($0, $1) })
        register(page, in: book)
    }

    private func showSchemas(_ visit: Visit) async throws -> [String: JSONValue] {
        let org = visit.principal.org
        let newest = try await schemas.newest(org: org)
        var values: [String: JSONValue] = [
            "schemas": .array(try newest.map(Self.row)), "no-schemas": .bool(newest.isEmpty),
        ]
        var shown: SavedConversionSchema?
        if let text = RequestInput.text("app", visit.request) {
            let versions = try await versions(text, org: org)
            shown = versions.first
            if versions.isEmpty {
                (values["alert"], values["wrong-link"]) = ("No app of this id has a schema.", true)
            } else {
                values["app"] = ["app": .string(text), "versions": .array(try versions.map(Self.row))]
            }
        }
        values["schema-form"] = visit.form(try Self.schemaForm(shown))
        return values
    }

    /// Of one app, newest first; none for what is no id.
    private func versions(_ text: String, org: String) async throws -> [SavedConversionSchema] {
        guard let app = Int64(text) else { return [] }
        return try await schemas.versions(org: org, appID: app, limit: ConversionSchemaStore.versionsMax)
    }

    private static func row(_ saved: SavedConversionSchema) throws -> JSONValue {
        let json = saved.json
        return [
            "app-id": .integer(saved.appID), "version": .integer(Int64(saved.version)),
            "starts": .string(json["starts_at"]?.string ?? ""), "currency": .string(saved.schema.currency.code),
            "fine": .integer(Int64(json["fine"]?.array?.count ?? 0)),
            "coarse": .integer(Int64(json["coarse"]?.array?.count ?? 0)),
            "saved": .string(PageText.moment(saved.savedAt)), "text": .string(try text(saved.schema)),
        ]
    }

    /// The values alone: the currency has a field of its own.
    private static func text(_ schema: ConversionSchema) throws -> String {
        var members = schema.json.object ?? [:]
        members["currency"] = nil
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(JSONValue.object(members)), as: UTF8.self)
    }

    /// - Parameter shown: what stands in the fields.
    private static func schemaForm(_ shown: SavedConversionSchema?) throws -> PageForm {
        PageForm(
            name: "schema", action: path(schemaPage), submit: "Save a version",
            fields: [
                PageForm.Field(
                    name: "app_id", label: "App", kind: .input("text", "525463029"),
                    standard: shown.map { "\($0.appID)" } ?? "", hint: "The number of the App Store."),
                PageForm.Field(
                    name: "currency", label: "Currency", kind: .input("text", "USD"),
                    standard: shown?.schema.currency.code ?? "USD"),
                PageForm.Field(
                    name: "starts_at", label: "Holds from", kind: .input("date", "2026-11-01"),
                    hint: "A day of UTC; today unless told."),
                PageForm.Field(
                    name: "schema", label: "Values as JSON", kind: .area(14),
                    standard: try shown.map { try text($0.schema) } ?? example,
                    hint: "fine has values 0 to 63; coarse has low, medium and high, of one window or of all."),
            ])
    }

    private func changeSchemas(_ principal: Principal, _ input: FormInput) async throws -> String {
        guard input.form == "schema" else { throw FormRefusal("", "The page has no such form.") }
        guard let app = Int64(input["app_id"] ?? "") else {
            throw FormRefusal("app_id", "must be a whole number from 1.")
        }
        let text = Data((input["schema"] ?? "").utf8)
        guard var body = (try? JSONDecoder().decode(JSONValue.self, from: text))?.object else {
            throw FormRefusal("schema", "must be an object of JSON with fine and coarse.")
        }
        for name in ["currency", "starts_at"] { body[name] = input.json(name) }
        do {
            _ = try await schemas.save(.object(body), org: principal.org, appID: app, actor: principal.keyID)
        } catch {
            // What is no field of its own is a member of the text.
            guard let refusal = FormRefusal(error), !["", "app_id", "currency", "starts_at"].contains(refusal.field)
            else { throw error }
            throw FormRefusal("schema", refusal.sentence)
        }
        return input.form
    }
}
