internal import Accounts
package import Attribution
package import AurumCore
internal import HTTPTypes
internal import Hummingbird
package import Logging

/// Pages of what attribution is told: runs over the log, experiments, windows, custom weights, and schemas of
/// conversion values. Written by the server, so that they work without a script; nothing but the API's own calls.
package struct AttributionPages: Sendable {
    let forms: PageForms
    let access: Access
    let parts: LogAttributionParts
    let schemas: ConversionSchemaStore
    let clock: any WallClock
    let logger: Logger
    /// A pasted file of 2,000 regions, with every sign escaped.
    private static let formBytesMax = 1 << 20

    package init(
        pages: PageRenderer, access: Access, parts: LogAttributionParts, schemas: ConversionSchemaStore,
        clock: any WallClock, logger: Logger
    ) {
        (forms, self.access, self.parts, self.schemas) = (PageForms(pages: pages), access, parts, schemas)
        (self.clock, self.logger) = (clock, logger)
    }

    package func register(in book: RouteBook) {
        registerRuns(in: book)
        registerExperiments(in: book)
        registerWindows(in: book)
        registerWeights(in: book)
        registerSchemas(in: book)
    }

    /// What a page shows, and what its forms do.
    struct Page: Sendable {
        /// The template, and the last part of the path.
        let name: String
        let summary: String
        /// Everything but what each page of ours has.
        let show: @Sendable (_ visit: Visit) async throws -> [String: JSONValue]
        /// Does what a form asks for; answers what `done` says in the link of the page after it: a key of `notices`.
        let change: @Sendable (_ principal: Principal, _ input: FormInput) async throws -> String
    }

    /// One look at a page.
    struct Visit: Sendable {
        let principal: Principal
        let request: Request
        /// The form that was refused.
        var input: FormInput?
        var refusal: FormRefusal?

        var mayChange: Bool { principal.has(.campaignsWrite) }

        /// A form that changes something, for whoever may.
        func form(_ form: PageForm) -> JSONValue {
            guard mayChange else { return false }
            let isMine = input?.form == form.name
            return form.json(isMine ? input : nil, isMine ? refusal : nil)
        }
    }

    static func path(_ name: String) -> String { "/attribution/" + name }

    func register(_ page: Page, in book: RouteBook) {
        let path = Self.path(page.name)
        book.get(path, RouteDescription(page.summary, tag: "pages")) { request, _ in
            guard let principal = access.principal(request) else { return PageForms.signIn(request) }
            guard principal.has(.analyticsRead) else { throw Problem.scopeMissing(.analyticsRead) }
            return try await show(page, Visit(principal: principal, request: request))
        }
        let description = RouteDescription(
            "A form of the page: \(page.summary)", tag: "pages", success: 303,
            bodyType: "application/x-www-form-urlencoded")
        book.post(path, description) { request, _ in
            guard let principal = access.principal(request) else { return PageForms.redirect("/login?next=" + path) }
            for scope in [Scope.analyticsRead, .campaignsWrite] where !principal.has(scope) {
                throw Problem.scopeMissing(scope)
            }
            let fields = try await PageForms.fields(request, limit: Self.formBytesMax)
            guard PageForms.isOurs(fields, request) else { throw Problem.formExpired }
            let input = FormInput(values: fields)
            do {
                let done = try await page.change(principal, input)
                logger.info(
                    "a page changed attribution",
                    metadata: [
                        "code": "attribution_page", "org": "\(principal.org)", "key": "\(principal.keyID)",
                        "page": "\(page.name)",
                    ])
                return PageForms.redirect("\(path)?done=\(done)")
            } catch {
                guard let refusal = FormRefusal(error) else { throw error }
                return try await show(
                    page, Visit(principal: principal, request: request, input: input, refusal: refusal))
            }
        }
    }

    private func show(_ page: Page, _ visit: Visit) async throws -> Response {
        var values = try await page.show(visit)
        // A form of the page's own link may be wrong, too.
        let status = visit.refusal?.status ?? (values["wrong-link"] == true ? .unprocessableContent : .ok)
        values["on-" + page.name] = true
        values["may-change"] = .bool(visit.mayChange)
        if let done = RequestInput.text("done", visit.request), visit.refusal == nil {
            values["notice"] = Self.notices[done].map { .string($0) }
        }
        if let refusal = visit.refusal, !Self.isShown(refusal, visit, values) {
            values["alert"] = .string(refusal.sentence)
        }
        return try forms.page(page.name, values, status: status, in: visit.request)
    }

    /// Whether the refused form shows its refusal itself; buttons in rows do not.
    private static func isShown(_ refusal: FormRefusal, _ visit: Visit, _ values: [String: JSONValue]) -> Bool {
        values.values.contains { $0["form"]?.string == visit.input?.form && $0["fields"] != nil }
    }

    /// What was done, by the word of `done`.
    private static let notices = [
        "run": "The run is asked for. Its figures are here once it is done.",
        "schedule": "The schedule is set.", "unschedule": "The schedule is removed; results stay.",
        "import": "The experiment is imported; reports go by it from now on.",
        "remove-experiment": "The experiment is removed; reports go without it from now on.",
        "window": "The version is saved. Runs over the log go by it from the next one on.",
        "end-window": "The windows are ended. Runs over the log go without them from the next one on.",
        "weights": "The weights are saved. The next run has the model Custom weights.",
        "remove-weights": "The weights are removed. The next run has no custom weights.",
        "schema": "The schema is saved; values are read by it from now on.",
    ]

    /// Names that a form may choose from.
    func conversions(org: String) async throws -> [SavedDefinition] {
        try await parts.attribution.definitions.current(org: org)
    }

    static func choices(_ names: some Sequence<String>) -> PageForm.Field.Kind {
        .choice(names.map { ($0, PageText.words($0)) })
    }
}
