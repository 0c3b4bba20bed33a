internal import AurumCore
internal import Events
import Testing

/// What links say of their ads, in a click or a picture and in the page that they lead to.
struct AdNamesTests {
    /// Stored events by their ids.
    private func stored(_ log: EventLog) async throws -> [String: StoredEvent] {
        var filter = EventFilter(org: "acme")
        filter.limit = 1000
        return Dictionary(try await log.store.events(filter).map { ($0.id, $0) }, uniquingKeysWith: { $1 })
    }

    private func page(_ id: String, _ query: String, more: String = "") -> String {
        "{\"id\":\"\(id)\",\"type\":\"page\",\"user_id\":\"u\",\"url\":\"https://shop.example/?\(query)\"\(more)}"
    }

    @Test func `each network's parameter fills its field, in a click and on the page it leads to`() async throws {
        let table: [(names: [String], expected: AdNames)] = [
            (
                [
                    "ad_group_id", "adgroup_id", "adgroupid", "adset_id", "hsa_grp", "af_adset_id", "af_adset",
                    "adgroup",
                ],
                AdNames(adGroup: "v 1")
            ),
            (
                ["creative_id", "ad_id", "hsa_ad", "af_ad_id", "af_ad", "creative", "utm_content"],
                AdNames(creative: "v 1")
            ),
            (["keyword", "hsa_kw", "af_keywords", "utm_term"], AdNames(keyword: "v 1")),
            (["publisher_id", "site_id", "siteid", "af_siteid"], AdNames(publisher: "v 1")),
        ]
        let log = try openEvents(VolatileLogStorage())
        var expected: [String: AdNames] = [:]
        for (names, ad) in table {
            for name in names {
                let query = "\(name)=v+1"
                let click = QueryEvent(query: "id=q-\(name)&anonymous_id=v&campaign=c&\(query)", type: "click")
                let receipt = try await log.capture.submit(
                    click.line, format: .click, source: testSource, receivedAt: testNow)
                #expect(receipt.stored == 1, "\(name) \(receipt.problems)")
                #expect(try await log.send(page("p-\(name)", "utm_campaign=c&\(query)")).stored == 1)
                #expect(try await log.send(page("g-\(name)", "gclid=g-\(name)&\(query)")).stored == 1)
                for kind in ["q", "p", "g"] { expected["\(kind)-\(name)"] = ad }
            }
        }
        let events = try await stored(log)
        #expect(events.count == 69 && expected.count == 69)
        for (id, ad) in expected { #expect(events[id]?.campaign.ad == ad, "\(id)") }
        await log.close()
    }

    @Test func `a page that no ad led to may use the same names for something else`() async throws {
        let log = try openEvents(VolatileLogStorage())
        for query in ["keyword=red+shoes&site_id=3&creative=x", "utm_source=&keyword=red", "gclid=&adgroup=1"] {
            _ = try await log.send(page(query, query))
        }
        let events = try await stored(log)
        #expect(events.count == 3 && events.values.allSatisfy { $0.campaign.ad.isEmpty })
        await log.close()
    }

    @Test func `what the event says counts before the URL, ids before texts, names of the contract before others`()
        async throws
    {
        let log = try openEvents(VolatileLogStorage())
        let own = ",\"campaign\":{\"creative_id\":\"own\"}"
        _ = try await log.send(page("a", "utm_campaign=c&creative=url&adgroupid=2&ad_group_id=1", more: own))
        _ = try await log.send(page("b", "utm_content=text&utm_term=words&ad_id=7&keyword=exact"))
        let click = QueryEvent(
            query: "id=c&anonymous_id=v&campaign=c&creative=other&creative_id=mine&adset_id=&adgroup=g", type: "click")
        _ = try await log.capture.submit(click.line, format: .click, source: testSource, receivedAt: testNow)
        let events = try await stored(log)
        #expect(events["a"]?.campaign.ad == AdNames(adGroup: "1", creative: "own"))
        #expect(events["b"]?.campaign.ad == AdNames(creative: "7", keyword: "exact"))
        #expect(events["c"]?.campaign.ad == AdNames(adGroup: "g", creative: "mine"))
        // What others call so stays where it always was.
        let props = events["c"]?.props
        #expect(props?["creative"] == "other" && props?["adgroup"] == "g" && props?["creative_id"] == nil)
        await log.close()
    }

    @Test func `a long name is cut between two characters, and refuses no click`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let long = String(repeating: "a", count: 199) + "éé"
        let click = QueryEvent(
            query: "id=c&anonymous_id=v&campaign=c&ad_id=\(long.percentEncoded)", type: "click")
        let receipt = try await log.capture.submit(
            click.line, format: .click, source: testSource, receivedAt: testNow)
        #expect(receipt.stored == 1, "\(receipt.problems)")
        #expect(try await stored(log)["c"]?.campaign.ad.creative == String(repeating: "a", count: 199))
        #expect(AdNames(keyword: String(repeating: "é", count: 101)).keyword?.utf8.count == AdNames.bytesMax)
        #expect(AdNames.cut("short") == "short")
        await log.close()
    }

    @Test func `the columns of a block say what its events say`() async throws {
        let storage = VolatileLogStorage()
        let log = try openEvents(storage)
        let queries = [
            "utm_campaign=c&adgroupid=1&creative=a&keyword=k&site_id=p", "adgroupid=1&creative=a&keyword=k",
            "gclid=g&adgroupid=2", "utm_campaign=c", "utm_campaign=c&ad_group_id=3&adgroupid=1", "creative=a",
        ]
        for round in 0..<4 {
            let lines = queries.enumerated().map { number, query in
                let own = (number + round).isMultiple(of: 4) ? ",\"campaign\":{\"keyword\":\"own\"}" : ""
                let context =
                    (number + round).isMultiple(of: 5)
                    ? ",\"context\":{\"page\":{\"url\":\"https://p.example/?utm_term=t&hsa_ad=9\"}}" : ""
                return page("\(round)-\(number)", query, more: own + context)
            }
            #expect(try await log.send(lines.joined(separator: "\n")).stored == queries.count)
        }
        await log.close()
        let reader = try LogReader(storage, named: "memory")
        var seen = 0
        for segment in try reader.segments() {
            for index in segment.blocks.indices {
                let block = try #require(try segment.read(index))
                let problem = try ColumnModel.difference(block)
                #expect(problem == nil, "\(problem ?? "")")
                seen += block.rowCount
            }
        }
        #expect(seen == 4 * queries.count)
    }
}
