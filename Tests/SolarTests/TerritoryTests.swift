internal import AurumCore
internal import Foundation
internal import Solar
import Testing

@Suite struct TerritoryTests {
    private let territory: Territory
    init() throws { territory = try Territory() }

    private func served(_ zip: String) -> ServedPlace? {
        if case .served(let place) = territory.lookup(zip) { place } else { nil }
    }

    @Test(arguments: [
        ("10001", Borough.manhattan, Utility.conEdison), ("11215", .brooklyn, .conEdison),
        ("11375", .queens, .conEdison), ("10462", .bronx, .conEdison), ("10301", .statenIsland, .conEdison),
        ("11691", .queens, .psegLongIsland), ("11697", .queens, .psegLongIsland),
    ])
    func `a ZIP is served by its borough's utility`(zip: String, borough: Borough, utility: Utility) {
        #expect(served(zip)?.borough == borough)
        #expect(served(zip)?.utility == utility)
    }

    @Test func `mailboxes, borders, outside and nonsense are told apart`() {
        #expect(territory.lookup("11695") == .mailbox(zip: "11695", borough: .queens))
        #expect(territory.lookup("10008") == .mailbox(zip: "10008", borough: .manhattan))
        for zip in ["10501", "07030"] { #expect(territory.lookup(zip) == .outside(zip: zip)) }
        for text in ["1O001", "1000", "100011", "", "1000１", "10001-12", "-0001"] {
            #expect(territory.lookup(text) == .invalid(text))
        }
        for text in [" 10001 ", "10001-1234", "10001\n"] {
            #expect(territory.lookup(text) == territory.lookup("10001"))
        }
    }

    @Test func `ZIPs that cross a border are asked about`() {
        guard case .askBorough(let hill) = territory.lookup("10463"),
            case .askBorough(let park) = territory.lookup("11001"),
            case .askBorough(let bay) = territory.lookup("11693")
        else {
            Issue.record("not asked")
            return
        }
        #expect(hill.ask == .borough)
        #expect(hill.choices.map(\.borough) == [.bronx, .manhattan])
        #expect(!hill.canBeOutside)
        #expect(park.canBeOutside)
        #expect(bay.ask == .utility)
        #expect(bay.choices.map(\.utility) == [.psegLongIsland, .conEdison])
    }

    @Test func `exactly the seven Rockaway ZIPs belong to PSEG Long Island, of 336 and two edge ZIPs`() {
        let pseg = ["11690", "11691", "11692", "11693", "11694", "11695", "11697"]
        #expect(territory.zips(of: .psegLongIsland) == pseg)
        #expect(territory.zips(of: .conEdison).count + pseg.count == 338)
    }

    @Test func `the nearest station is used`() {
        #expect(served("10025")?.station == .centralPark)
        #expect(served("11369")?.station == .laGuardia)
        #expect(served("11691")?.station == .jfk)
    }

    @Test(arguments: [
        ("\"Queens\"", "\"Nassau\"", "borough is Nassau"), ("\"40.7\"", "\"40,7\"", "lat is 40,7"),
        ("\"ConEd\"", "\"LIPA\"", "LIPA"), ("\"STANDARD\"", "\"MILITARY\"", "type"),
        ("\"city\"", "\"town\"", "unknown field town"), ("\"11375\"", "\"1137\"", "five digits"),
    ])
    func `a malformed row stops the start with file and row`(old: String, new: String, words: String) throws {
        let row =
            #"{"11375": {"borough": "Queens", "city": "Forest Hills", "lat": "40.7", "long": "-73.8", "type": "STANDARD", "#
            + #""utility": "ConEd"}}"#
        #expect(throws: Never.self) { try Territory(map: row, overlay: #"{"zips": {}}"#) }
        let broken = row.replacingOccurrences(of: old, with: new)
        let error = #expect(throws: SolarDataError.self) { try Territory(map: broken, overlay: #"{"zips": {}}"#) }
        #expect(error?.file == "places/nyc_zip_map.json")
        #expect(error?.row.hasPrefix("ZIP 1137") == true)
        #expect(error?.description.contains(words) == true, "\(String(describing: error))")
    }
}
