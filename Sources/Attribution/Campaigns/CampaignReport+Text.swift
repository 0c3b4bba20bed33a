package import AurumCore

/// A report as JSON and as CSV.
extension CampaignReport {
    /// What every form of the answer says beside its rows.
    private var facts: [String: JSONValue] {
        [
            "group_by": .string(question.dimension.rawValue), "basis": .string(question.basis.rawValue),
            "from": from.map { .string($0.rfc3339) } ?? .null, "to": to.map { .string($0.rfc3339) } ?? .null,
            "timezone": .string(timezone), "timezone_mixed": .bool(isTimezoneMixed), "as_of": .string(asOf.rfc3339),
            "unmatched": .array(
                unmatched.prefix(Self.unmatchedMax).map {
                    [
                        "network": .string($0.network), "campaign_id": .string($0.campaign.id),
                        "campaign": .string($0.campaign.name), "currency": .string($0.currency.code),
                        "spend_minor": .integer($0.spendMinor),
                    ]
                }),
        ]
    }

    /// The lines of the one model that was asked for.
    package var json: JSONValue {
        guard let first = models.first else { return .object(facts) }
        var members = facts
        members["model"] = .string(first.model.rawValue)
        members["rows"] = .array(first.lines.prefix(Self.linesMax).map { $0.json(question.basis) })
        members["truncated"] = .bool(first.lines.count > Self.linesMax)
        members["totals"] = .array(first.totals.map { $0.json(question.basis) })
        return .object(members)
    }

    /// All models side by side: what each gives a key, and how far that is from `base`.
    package func comparison(base: CreditModel) -> JSONValue {
        var members = facts
        members["compare_to"] = .string(base.rawValue)
        members["models"] = .array(models.map { .string($0.model.rawValue) })
        let parts = models.map {
            ($0.model, Dictionary($0.lines.map { (Self.place($0), $0) }, uniquingKeysWith: { $1 }))
        }
        var places: [String] = []
        var spend: [String: CampaignLine] = [:]
        for (_, lines) in parts {
            for (place, line) in lines where spend[place] == nil {
                places.append(place)
                spend[place] = line
            }
        }
        let baseLines = parts.first { $0.0 == base }?.1 ?? [:]
        let basis = question.basis
        places.sort { one, other in
            let left = (baseLines[one]?.revenueMinor(basis) ?? 0, spend[one]?.spendMinor ?? 0)
            let right = (baseLines[other]?.revenueMinor(basis) ?? 0, spend[other]?.spendMinor ?? 0)
            return left == right ? one < other : left > right
        }
        members["rows"] = .array(
            places.prefix(Self.linesMax).compactMap { place in
                spend[place].map { Self.compared($0, parts.map { ($0.0, $0.1[place]) }, base, basis) }
            })
        members["truncated"] = .bool(places.count > Self.linesMax)
        let currencies = Set(models.flatMap { $0.totals.map(\.currency) }).sorted { $0.code < $1.code }
        members["totals"] = .array(
            currencies.compactMap { currency in
                let totals = models.map { ($0.model, $0.totals.first { $0.currency == currency }) }
                guard let known = totals.lazy.compactMap(\.1).first else { return nil }
                return Self.compared(known, totals, base, basis)
            })
        return .object(members)
    }

    private static func place(_ line: CampaignLine) -> String { line.key + "\u{0}" + line.currency.code }

    private static func compared(
        _ line: CampaignLine, _ models: [(CreditModel, CampaignLine?)], _ base: CreditModel, _ basis: RevenueBasis
    ) -> JSONValue {
        let standard = models.first { $0.0 == base }?.1?.revenueMinor(basis) ?? 0
        var members: [String: JSONValue] = [:]
        for (model, found) in models {
            let one = found ?? CampaignLine(key: line.key, currency: line.currency)
            let revenue = one.revenueMinor(basis)
            let (difference, isTooFar) = revenue.subtractingReportingOverflow(standard)
            members[model.rawValue] = [
                "revenue_minor": .integer(revenue), "difference_minor": .whole(isTooFar ? nil : difference),
                "conversions": .millionths(one.salesMillionths), "leads": .millionths(one.leadsMillionths),
                "per_conversion_minor": .whole(Ratio.of(revenue, by: one.salesMillionths, scale: 1_000_000)),
                "cpa_minor": .whole(one.costPerConversionMinor), "roas": .millionths(one.returnOnSpend(basis)),
            ]
        }
        return [
            "key": .string(line.key), "currency": .string(line.currency.code), "spend_minor": .integer(line.spendMinor),
            "models": .object(members),
        ]
    }

    /// One row a key and currency, money as decimals of the currency, what has no value empty.
    package var csv: String {
        let basis = question.basis
        var text =
            "\(question.dimension.rawValue),currency,spend,impressions,clicks,clicks_from,visits,installs,leads,sales,"
            + "conversions,revenue,booked,recognised,returned,ctr,cvr,cpc,cpi,cpl,cpa,roas\r\n"
        for line in models.first?.lines ?? [] {
            func money(_ minor: Int64?) -> String {
                minor.map { Money(minorUnits: $0, currency: line.currency).decimal } ?? ""
            }
            func decimal(_ value: Int64?) -> String { value.map { Millionths(value: $0).decimal } ?? "" }
            let cells = [
                CSVCell.text(line.key), line.currency.code, money(line.spendMinor),
                line.impressions.map { String($0) } ?? "", String(line.clicks), line.clicksFrom, String(line.visits),
                String(line.installs), decimal(line.leadsMillionths), String(line.sales), decimal(line.salesMillionths),
                money(line.revenueMinor(basis)), money(line.bookedMinor), money(line.recognisedMinor),
                money(line.returnedMinor), decimal(line.clickRate), decimal(line.conversionRate),
                money(line.costPerClickMinor), money(line.costPerInstallMinor), money(line.costPerLeadMinor),
                money(line.costPerConversionMinor), decimal(line.returnOnSpend(basis)),
            ]
            text += cells.joined(separator: ",") + "\r\n"
        }
        return text
    }
}

extension CampaignLine {
    package func json(_ basis: RevenueBasis) -> JSONValue {
        [
            "key": .string(key), "currency": .string(currency.code), "spend_minor": .integer(spendMinor),
            "impressions": .whole(impressions), "clicks": .integer(clicks), "clicks_from": .string(clicksFrom),
            "logged_clicks": .integer(loggedClicks), "visits": .integer(visits), "installs": .integer(installs),
            "leads": .millionths(leadsMillionths), "sales": .integer(Int64(sales)),
            "conversions": .millionths(salesMillionths), "revenue_minor": .integer(revenueMinor(basis)),
            "gross_minor": .whole(grossMinor), "returned_minor": .integer(returnedMinor),
            "booked_minor": .integer(bookedMinor), "recognised_minor": .integer(recognisedMinor),
            "network_conversions": networkConversionsMillionths.map { .millionths($0) } ?? .null,
            "network_value_minor": .whole(networkValueMinor), "ctr": .millionths(clickRate),
            "cvr": .millionths(conversionRate), "cpc_minor": .whole(costPerClickMinor),
            "cpi_minor": .whole(costPerInstallMinor), "cpl_minor": .whole(costPerLeadMinor),
            "cpa_minor": .whole(costPerConversionMinor), "roas": .millionths(returnOnSpend(basis)),
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
