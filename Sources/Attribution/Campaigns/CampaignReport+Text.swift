package import AurumCore

/// A report as JSON and as CSV.
extension CampaignReport {
    /// What every form of the answer says beside its rows.
    private var facts: [String: JSONValue] {
        var members: [String: JSONValue] = [
            "group_by": .string(question.dimension.rawValue),
            "basis": .string(run == nil ? question.basis.rawValue : CampaignRun.basis),
            "from": from.map { .string($0.rfc3339) } ?? .null, "to": to.map { .string($0.rfc3339) } ?? .null,
            "timezone": .string(timezone), "timezone_mixed": .bool(isTimezoneMixed), "as_of": .string(asOf.rfc3339),
            "unmatched": .array(
                unmatched.prefix(Self.unmatchedMax).map {
                    [
                        "network": .string($0.network), "campaign_id": .string($0.campaign.id),
                        "campaign": .string($0.campaign.name), "currency": .string($0.currency.code),
                        "spend_minor": .integer($0.spendMinor),
                    ]
                }), "unattributed": unattributed.json, "settings": settings,
        ]
        if areTouchesCut { members["touches_truncated"] = .bool(true) }
        if run == nil { members["restated_at"] = restatedAt.map { .string($0.rfc3339) } ?? .null }
        if let run { members.merge(run.facts) { $1 } }
        if let comparedAt {
            members["compared_at"] = .string(comparedAt.rfc3339)
            members["spend_known_since"] = spendKnownSince.map { .string($0.rfc3339) } ?? .null
            members["credit_known_since"] = creditKnownSince.map { .string($0.rfc3339) } ?? .null
        }
        return members
    }

    /// Lines as rows; beside those of an earlier moment each figure that is another one now.
    private func rows(_ lines: some Sequence<CampaignLine>, now: [CampaignLine]) -> [JSONValue] {
        lines.enumerated().map { index, line in
            let row = line.json(question.basis)
            guard comparedAt != nil, now.indices.contains(index), var members = row.object else { return row }
            members["changed"] = Self.changed(row, now[index].json(question.basis), CampaignLine.amounts)
            return .object(members)
        }
    }

    /// The members of `now` among `names` that `then` does not say.
    private static func changed(_ then: JSONValue, _ now: JSONValue, _ names: [String]) -> JSONValue {
        var members: [String: JSONValue] = [:]
        for name in names { if let value = now[name], value != then[name] { members[name] = value } }
        return .object(members)
    }

    /// What was asked for: one model, or all beside the one that they are compared with.
    package var document: JSONValue { question.base.map { comparison(base: $0) } ?? json }

    /// The lines of the one model that was asked for.
    package var json: JSONValue {
        guard let first = models.first else { return .object(facts) }
        var members = facts
        members["model"] = .string(first.model.name)
        members["rows"] = .array(rows(first.lines.prefix(Self.linesMax), now: first.linesNow))
        members["truncated"] = .bool(first.lines.count > Self.linesMax)
        members["totals"] = .array(rows(first.totals, now: first.totalsNow))
        return .object(members)
    }

    /// All models side by side: what each gives a key, and how far that is from `base`.
    package func comparison(base: LogModel) -> JSONValue {
        var members = facts
        members["compare_to"] = .string(base.name)
        members["models"] = .array(models.map { .string($0.model.name) })
        let parts = models.map { Side($0.model, $0.lines, $0.linesNow) }
        var places: [String] = []
        var spend: [String: CampaignLine] = [:]
        for part in parts {
            for (place, line) in part.then where spend[place] == nil {
                places.append(place)
                spend[place] = line
            }
        }
        let baseLines = parts.first { $0.model == base }?.then ?? [:]
        let basis = question.basis
        places.sort { one, other in
            let left = (baseLines[one]?.revenueMinor(basis) ?? 0, spend[one]?.spendMinor ?? 0)
            let right = (baseLines[other]?.revenueMinor(basis) ?? 0, spend[other]?.spendMinor ?? 0)
            return left == right ? one < other : left > right
        }
        members["rows"] = .array(
            places.prefix(Self.linesMax).compactMap { place in spend[place].map { compared($0, parts, base) } })
        members["truncated"] = .bool(places.count > Self.linesMax)
        let totals = models.map { Side($0.model, $0.totals, $0.totalsNow) }
        let currencies = Set(models.flatMap { $0.totals.map(\.currency) }).sorted { $0.code < $1.code }
        members["totals"] = .array(
            currencies.compactMap { currency in
                let place = CampaignLine(key: "", currency: currency).place
                return totals.lazy.compactMap { $0.then[place] }.first.map { compared($0, totals, base) }
            })
        return .object(members)
    }

    /// The lines of one model by place, as they stood and as they are now.
    private struct Side {
        let model: LogModel
        let then: [String: CampaignLine]
        let now: [String: CampaignLine]

        init(_ model: LogModel, _ then: [CampaignLine], _ now: [CampaignLine]) {
            self.model = model
            self.then = Dictionary(then.map { ($0.place, $0) }, uniquingKeysWith: { $1 })
            self.now = Dictionary(now.map { ($0.place, $0) }, uniquingKeysWith: { $1 })
        }
    }

    private func compared(_ line: CampaignLine, _ sides: [Side], _ base: LogModel) -> JSONValue {
        func spent(_ line: CampaignLine) -> JSONValue { ["spend_minor": .whole(line.knownSpendMinor)] }
        var members: [String: JSONValue] = [
            "key": .string(line.key), "currency": .string(line.currency.code),
            "spend_minor": .whole(line.knownSpendMinor),
        ]
        // The same under every model, but for one that has no credit of that time.
        let missing = sides.compactMap { $0.then[line.place]?.unrecorded }
        members["not_recorded"] = missing.max { $0.salesMillionths < $1.salesMillionths }?.json
        let then = figures(line, sides.map { ($0.model, $0.then[line.place]) }, base)
        guard comparedAt != nil else {
            members["models"] = .object(then)
            return .object(members)
        }
        let now = figures(line, sides.map { ($0.model, $0.now[line.place]) }, base)
        members["models"] = .object(
            then.reduce(into: [:]) { models, pair in
                guard var figures = pair.value.object, let later = now[pair.key] else { return }
                figures["changed"] = Self.changed(pair.value, later, ["revenue_minor", "conversions", "leads"])
                models[pair.key] = .object(figures)
            })
        let later = sides.lazy.compactMap { $0.now[line.place] }.first
        members["changed"] = later.map { Self.changed(spent(line), spent($0), ["spend_minor"]) } ?? .object([:])
        return .object(members)
    }

    /// What each model says of one place, by the model's name.
    private func figures(
        _ line: CampaignLine, _ models: [(LogModel, CampaignLine?)], _ base: LogModel
    ) -> [String: JSONValue] {
        let basis = question.basis
        let standard = models.first { $0.0 == base }?.1?.revenueMinor(basis) ?? 0
        var members: [String: JSONValue] = [:]
        for (model, found) in models {
            var one = found ?? CampaignLine(key: line.key, currency: line.currency)
            if found == nil { (one.isSpendKnown, one.areTouchesKnown) = (line.isSpendKnown, line.areTouchesKnown) }
            (one.isOfRun, one.hasRefunds) = (line.isOfRun, line.hasRefunds)
            let revenue = one.revenueMinor(basis)
            let (difference, isTooFar) = revenue.subtractingReportingOverflow(standard)
            members[model.name] = [
                "revenue_minor": .integer(revenue), "difference_minor": .whole(isTooFar ? nil : difference),
                "conversions": .millionths(one.salesMillionths),
                "leads": .millionths(one.knownLeadsMillionths),
                "per_conversion_minor": .whole(Ratio.of(revenue, by: one.salesMillionths, scale: 1_000_000)),
                "cpa_minor": .whole(one.costPerConversionMinor), "roas": .millionths(one.returnOnSpend(basis)),
            ]
        }
        return members
    }

    /// One row a key and currency, money as decimals of the currency, what has no value empty.
    package var csv: String {
        let basis = question.basis
        var text =
            "\(question.dimension.rawValue),currency,spend,impressions,clicks,clicks_from,visits,installs,leads,sales,"
            + "conversions,revenue,booked,recognised,returned,ctr,cvr,cpc,cpi,cpl,cpa,roas"
        let now = models.first?.linesNow ?? []
        if comparedAt != nil {
            text += ",spend_now,leads_now,sales_now,conversions_now,revenue_now,booked_now,recognised_now,returned_now"
        }
        if question.dimension.isOfAds { text += ",conversions_not_recorded" }
        let source = run?.cells
        if source != nil { text += "," + CampaignRun.columns }
        text += "\r\n"
        for (index, line) in (models.first?.lines ?? []).enumerated() {
            func money(_ minor: Int64?) -> String {
                minor.map { Money(minorUnits: $0, currency: line.currency).decimal } ?? ""
            }
            func decimal(_ value: Int64?) -> String { value.map { Millionths(value: $0).decimal } ?? "" }
            func sold(_ text: String) -> String { line.isOfRun ? "" : text }
            func touches(_ line: CampaignLine, _ text: String) -> String { line.areTouchesKnown ? text : "" }
            var cells = [
                CSVCell.text(line.key), line.currency.code, money(line.knownSpendMinor),
                line.impressions.map { String($0) } ?? "", line.clicks.map { String($0) } ?? "", line.clicksFrom ?? "",
                touches(line, String(line.visits)), touches(line, String(line.installs)),
                decimal(line.knownLeadsMillionths), sold(String(line.sales)), decimal(line.salesMillionths),
                money(line.revenueMinor(basis)), sold(money(line.bookedMinor)), sold(money(line.recognisedMinor)),
                line.hasRefunds ? money(line.returnedMinor) : sold(money(line.returnedMinor)), decimal(line.clickRate),
                decimal(line.conversionRate),
                money(line.costPerClickMinor), money(line.costPerInstallMinor), money(line.costPerLeadMinor),
                money(line.costPerConversionMinor), decimal(line.returnOnSpend(basis)),
            ]
            if comparedAt != nil, now.indices.contains(index) {
                let one = now[index]
                cells += [
                    money(one.knownSpendMinor), touches(one, decimal(one.leadsMillionths)), String(one.sales),
                    decimal(one.salesMillionths), money(one.revenueMinor(basis)), money(one.bookedMinor),
                    money(one.recognisedMinor), money(one.returnedMinor),
                ]
            }
            if question.dimension.isOfAds { cells.append(decimal(line.unrecorded.salesMillionths)) }
            if let source { cells += source }
            text += cells.joined(separator: ",") + "\r\n"
        }
        return text
    }
}

extension CampaignLine {
    /// The members of `json` that a report of an earlier moment compares with those of now.
    static let amounts = [
        "spend_minor", "impressions", "clicks", "visits", "installs", "leads", "sales", "conversions", "revenue_minor",
        "gross_minor", "returned_minor", "booked_minor", "recognised_minor",
    ]

    package func json(_ basis: RevenueBasis) -> JSONValue {
        func touches(_ count: Int64) -> JSONValue { .whole(areTouchesKnown ? count : nil) }
        func sold(_ count: Int64?) -> JSONValue { .whole(isOfRun ? nil : count) }
        func refunded(_ amount: Int64?) -> JSONValue { hasRefunds ? .whole(amount) : sold(amount) }
        var members: [String: JSONValue] = [
            "key": .string(key), "currency": .string(currency.code), "spend_minor": .whole(knownSpendMinor),
            "impressions": .whole(impressions), "clicks": .whole(clicks),
            "clicks_from": clicksFrom.map { .string($0) } ?? .null, "logged_clicks": touches(loggedClicks),
            "visits": touches(visits), "installs": touches(installs),
            "leads": .millionths(knownLeadsMillionths), "sales": sold(Int64(sales)),
            "conversions": .millionths(salesMillionths), "revenue_minor": .integer(revenueMinor(basis)),
            "gross_minor": refunded(grossMinor), "returned_minor": refunded(returnedMinor),
            "booked_minor": sold(bookedMinor), "recognised_minor": sold(recognisedMinor),
            "network_conversions": networkConversionsMillionths.map { .millionths($0) } ?? .null,
            "network_value_minor": .whole(networkValueMinor), "ctr": .millionths(clickRate),
            "cvr": .millionths(conversionRate), "cpc_minor": .whole(costPerClickMinor),
            "cpi_minor": .whole(costPerInstallMinor), "cpl_minor": .whole(costPerLeadMinor),
            "cpa_minor": .whole(costPerConversionMinor), "roas": .millionths(returnOnSpend(basis)),
        ]
        if isEstimated { members["conversions_estimated"] = .bool(true) }
        members["not_recorded"] = unrecorded.json
        if valuelessMillionths != 0 { members["conversions_without_value"] = .millionths(valuelessMillionths) }
        return .object(members)
    }
}

extension UnrecordedCredit {
    /// nil when there is none.
    fileprivate var json: JSONValue? {
        guard self != UnrecordedCredit() else { return nil }
        return [
            "conversions": .millionths(salesMillionths), "leads": .millionths(leadsMillionths),
            "returned_minor": .integer(returnedMinor),
        ]
    }
}

extension JSONValue {
    static func whole(_ value: Int64?) -> JSONValue { value.map { .integer($0) } ?? .null }

    /// A decimal number of at most six digits after the point.
    static func millionths(_ value: Int64?) -> JSONValue {
        guard let value else { return .null }
        return value.isMultiple(of: 1_000_000) ? .integer(value / 1_000_000) : .number(Double(value) / 1_000_000)
    }
}
