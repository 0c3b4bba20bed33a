internal import Accounts
package import Attribution
package import AurumCore
internal import Events
internal import HTTPTypes
internal import Hummingbird
package import Logging
internal import NIOCore

/// Spend in and out: what networks say that campaigns cost.
package struct SpendRoutes: Sendable {
    private let access: Access
    private let reports: CampaignReports
    private let clock: any WallClock
    private let logger: Logger

    package init(access: Access, reports: CampaignReports, clock: any WallClock, logger: Logger) {
        (self.access, self.reports, self.clock, self.logger) = (access, reports, clock, logger)
    }

    private static let templateMax = 500
    /// Rows that an export reads at a time.
    private static let exportedEach = 5000
    private static let example: JSONValue = [
        "rows": [
            [
                "date": "2026-11-20", "network": "google", "campaign": "nyc-solar-brand", "currency": "USD",
                "spend": "182.40", "impressions": 9120, "clicks": 214,
            ]
        ]
    ]

    package func register(in book: RouteBook) {
        book.post(
            "/v1/spend",
            RouteDescription(
                "Stores spend by day and campaign, as JSON or as text/csv; a row replaces the one of the same key.",
                tag: "attribution", scope: .campaignsWrite,
                query: [
                    "on_error": "stop (one bad row stores nothing, the default) or skip.",
                    "timezone": "The calendar of the accounts in the file, such as America/New_York.",
                ], body: Self.example
            ).bulk
        ) { request, _ in
            let principal = try access.require(.campaignsWrite, request)
            return try await store(request, org: principal.org)
        }
        book.get(
            "/v1/spend",
            RouteDescription(
                "Imported rows, newest days first; CSV has all of them unless limit is told.", tag: "attribution",
                scope: .analyticsRead,
                query: [
                    "from": "A date.", "to": "A date, not included.", "network": "Only this network.",
                    "limit": "1 to 100000 a page; of JSON 1000 unless told.", "format": "json or csv.",
                    "after": "The next of a page; of CSV its header Aurum-Next.",
                ])
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let isCSV = try AttributionRoutes.isCSV(request)
            let filter = try filter(request)
            if isCSV, RequestInput.text("limit", request) == nil {
                return try await export(org: principal.org, filter)
            }
            let page = try await reports.spend.page(org: principal.org, filter)
            if isCSV {
                var response = Response.csv(SpendText.csv(page.rows), file: "spend.csv")
                response.headers[.aurumNext] = page.next?.text
                return response
            }
            return .json([
                "rows": .array(page.rows.map(\.json)), "next": page.next.map { .string($0.text) } ?? .null,
            ])
        }
        book.get(
            "/v1/spend/template.csv",
            RouteDescription(
                "A file to fill in, with a row for each known campaign.", tag: "attribution", scope: .analyticsRead)
        ) { request, _ in
            let principal = try access.require(.analyticsRead, request)
            let known = try await Self.mapped {
                try await reports.knownCampaigns(org: principal.org, limit: Self.templateMax)
            }
            let yesterday = CivilDate(daysSince1970: Int(clock.now.microseconds / 86_400_000_000) - 1)
            return .csv(SpendText.template(known, date: yesterday), file: "spend-template.csv")
        }
    }

    private func store(_ request: Request, org: String) async throws -> Response {
        let skips: Bool
        switch RequestInput.text("on_error", request) ?? "stop" {
        case "stop": skips = false
        case "skip": skips = true
        default: throw Problem.badQuery(name: "on_error", detail: "must be stop or skip.")
        }
        let timezone = RequestInput.text("timezone", request)
        let isCSV = try Self.isCSV(request.headers[.contentType])
        let body = try await RequestInput.body(request, limit: SpendFile.bytesMax)
        let latest = reports.spend.latestDay
        let began = ContinuousClock.now
        let (receipt, unmatched) = try await Self.mapped {
            let file = try await BlockingWork.value {
                let bytes = Array(body.readableBytesView)
                return try isCSV
                    ? SpendReader.csv(bytes, latest: latest) : SpendReader.json(bytes, latest: latest)
            }
            let receipt = try await reports.spend.store(file, org: org, timezone: timezone, skipsBad: skips)
            return (receipt, try await reports.unmatched(org: org, receipt.campaigns))
        }
        logger.info(
            "spend imported",
            metadata: [
                "code": "spend_imported", "org": "\(org)", "inserted": "\(receipt.inserted)",
                "replaced": "\(receipt.replaced)", "unchanged": "\(receipt.unchanged)",
                "refused": "\(receipt.refused)",
                "milliseconds": "\(Int((ContinuousClock.now - began).seconds * 1000))",
            ])
        var members = receipt.json.object ?? [:]
        members["unmatched"] = .array(
            unmatched.prefix(CampaignReport.unmatchedMax).map {
                ["campaign_id": .string($0.id), "campaign": .string($0.name)]
            })
        members["unmatched_count"] = .integer(Int64(unmatched.count))
        return .json(.object(members))
    }

    /// All rows, as many as there are, a page after another. The first is read before the answer begins, so that what
    /// goes wrong at once is told as a problem; later the connection ends without the last chunk.
    private func export(org: String, _ filter: SpendFilter) async throws -> Response {
        let spend = reports.spend
        var wanted = filter
        wanted.limit = Self.exportedEach
        let first = try await spend.page(org: org, wanted)
        wanted.after = first.next
        let rest = wanted
        let body = ResponseBody { writer in
            try await writer.write(ByteBuffer(string: SpendText.csv(first.rows)))
            var filter = rest
            while filter.after != nil {
                let page = try await spend.page(org: org, filter)
                try await writer.write(ByteBuffer(string: SpendText.lines(page.rows)))
                filter.after = page.next
            }
            try await writer.finish(nil)
        }
        return .csv(body, file: "spend.csv")
    }

    private func filter(_ request: Request) throws(Problem) -> SpendFilter {
        var filter = SpendFilter()
        filter.limit = try RequestInput.integer("limit", request, in: 1...SpendStore.listMax, standard: 1000)
        if let text = RequestInput.text("after", request) {
            guard let mark = SpendPageMark(text) else {
                throw .badQuery(name: "after", detail: "must be the `next` of a page.")
            }
            filter.after = mark
        }
        if let network = RequestInput.text("network", request) {
            guard !network.utf8.contains(0) else { throw .badQuery(name: "network", detail: "must be a text.") }
            filter.network = network
        }
        func date(_ name: String) throws(Problem) -> CivilDate? {
            guard let text = RequestInput.text(name, request) else { return nil }
            guard let date = CivilDate(text) else { throw .badQuery(name: name, detail: "must be a date.") }
            return date
        }
        (filter.from, filter.to) = (try date("from"), try date("to"))
        return filter
    }

    private static func isCSV(_ type: String?) throws(Problem) -> Bool {
        let bare = type?.split(separator: ";").first.map { $0.lowercased() } ?? ""
        switch bare.filter({ $0 != " " }) {
        case "text/csv", "application/csv": return true
        case "application/json", "": return false
        default: throw .unsupportedSpendType
        }
    }

    /// Runs `body`; what spend and queries refuse becomes a problem.
    static func mapped<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let error as SpendError { throw Problem.spend(error) } catch let error
            as QueryError
        { throw Problem.query(error) } catch let error as LogAttributionError { throw Problem(error) }
    }
}

extension Problem {
    fileprivate static let unsupportedSpendType = Problem.badQuery(
        name: "Content-Type", detail: "must be application/json or text/csv.")
}

extension HTTPField.Name {
    /// The `after` of the next page of a file; absent on the last.
    static let aurumNext = HTTPField.Name("Aurum-Next")!
}

extension Response {
    /// A CSV file to be saved.
    static func csv(_ text: String, file: String) -> Response {
        csv(ResponseBody(byteBuffer: ByteBuffer(string: text)), file: file)
    }

    static func csv(_ body: ResponseBody, file: String) -> Response {
        var headers: HTTPFields = [.contentType: "text/csv; charset=utf-8; header=present"]
        headers[.contentDisposition] = "attachment; filename=\"\(file)\""
        return Response(status: .ok, headers: headers, body: body)
    }
}

/// How refused spend looks over HTTP.
extension SpendError {
    var status: HTTPResponse.Status {
        switch self {
        case .input, .malformedJSON, .notRows, .unknownTimeZone: .badRequest
        case .tooManyRows: .contentTooLarge
        case .badRows, .figuresTooLarge: .unprocessableContent
        case .importRunning, .overtaken: .conflict
        }
    }

    var code: String {
        switch self {
        case .input: "bad_spend_file"
        case .malformedJSON, .notRows: "malformed_body"
        case .tooManyRows: "too_many_rows"
        case .unknownTimeZone: "unknown_timezone"
        case .badRows: "spend_refused"
        case .importRunning: "import_running"
        case .overtaken: "import_overtaken"
        case .figuresTooLarge: "figures_too_large"
        }
    }

    /// Members of the problem document beside the usual ones.
    var members: [String: JSONValue] {
        switch self {
        case .badRows(let problems, let count):
            ["problems": .array(problems.map(\.json)), "refused": .integer(Int64(count))]
        case .input(.badRow(let row)): ["problems": .array([row.json])]
        case .input, .malformedJSON, .notRows, .tooManyRows, .unknownTimeZone, .importRunning, .overtaken,
            .figuresTooLarge:
            [:]
        }
    }
}
