import Attribution
import AurumCore
import Foundation
import TestSupport
import Testing

/// The reader of delimited text against a plain model, and what becomes of good and bad files.
struct PathFileTests {
    /// RFC 4180 once more, character by character.
    private static func model(_ text: [UInt8], _ delimiter: UInt8) -> [[[UInt8]]] {
        var (records, record, field): ([[[UInt8]]], [[UInt8]], [UInt8]) = ([], [], [])
        var (inQuotes, wasQuoted, at) = (false, false, 0)
        func isEnd(_ index: Int) -> Bool { index >= text.count || text[index] == 10 }
        func close() {
            record.append(field)
            (field, wasQuoted) = ([], false)
        }
        func endRecord() {
            close()
            if record.count > 1 || !record[0].isEmpty { records.append(record) }
            record = []
        }
        while at < text.count {
            let byte = text[at]
            if inQuotes {
                if byte == 34, at + 1 < text.count, text[at + 1] == 34 {
                    field.append(34)
                    at += 1
                } else if byte == 34 {
                    inQuotes = false
                } else {
                    field.append(byte)
                }
            } else if byte == 34, field.isEmpty, !wasQuoted {
                (inQuotes, wasQuoted) = (true, true)
            } else if byte == delimiter {
                close()
            } else if byte == 10 {
                endRecord()
            } else if byte == 13, isEnd(at + 1) {
            } else {
                field.append(byte)
            }
            at += 1
        }
        if !record.isEmpty || !field.isEmpty || wasQuoted { endRecord() }
        return records
    }

    @Test func `random well-formed text is split as the model splits it, however its bytes come in`() throws {
        let seed: UInt64 = 4180
        print("csv seed \(seed)")
        var random = SeededRandom(seed: seed)
        for round in 0..<600 {
            let delimiters: [UInt8] = [44, 9, 59, 124]
            let delimiter = delimiters[Int.random(in: 0..<4, using: &random)]
            let alphabet: [UInt8] = [97, 98, 32, 62, 195, 34, 10, 13, delimiter]
            var text: [UInt8] = round % 3 == 0 ? [0xEF, 0xBB, 0xBF] : []
            for _ in 0..<Int.random(in: 0...6, using: &random) {
                let fields = Int.random(in: 1...4, using: &random)
                for index in 0..<fields {
                    if index > 0 { text.append(delimiter) }
                    var body: [UInt8] = []
                    for _ in 0..<Int.random(in: 0...5, using: &random) {
                        body.append(alphabet[Int.random(in: 0..<alphabet.count, using: &random)])
                    }
                    let special: Set<UInt8> = [34, 10, 13, delimiter]
                    if !special.isDisjoint(with: body) || Bool.random(using: &random) {
                        text.append(34)
                        for byte in body { text += byte == 34 ? [34, 34] : [byte] }
                        text.append(34)
                    } else {
                        text += body
                    }
                }
                text += Bool.random(using: &random) ? [10] : [13, 10]
            }
            if Bool.random(using: &random) { while text.last == 10 || text.last == 13 { text.removeLast() } }
            var reader = DelimitedReader(
                text, delimiter: delimiter, step: Int.random(in: 1...9, using: &random))
            var found: [[[UInt8]]] = []
            while try reader.next() {
                let defect = reader.defect
                #expect(defect == nil)
                var fields: [[UInt8]] = []
                for index in 0..<reader.fieldCount { fields.append(reader.withField(index) { Array($0) }) }
                found.append(fields)
            }
            let bare = text.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(text.dropFirst(3)) : text
            // A record of one empty quoted field is an empty line to the reader.
            #expect(found == Self.model(bare, delimiter), "\(String(decoding: text, as: UTF8.self))")
        }
    }

    @Test func `random bytes never break the reader`() throws {
        var random = SeededRandom(seed: 12)
        for _ in 0..<300 {
            let alphabet: [UInt8] = [44, 34, 10, 13, 62, 65, 48, 0, 255]
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 0...400, using: &random) {
                bytes.append(alphabet[Int.random(in: 0..<alphabet.count, using: &random)])
            }
            _ = try? PathFile.read(DelimitedReader(bytes, step: 7), PathReading())
            let headed = Array("path,total_conversions,total_null\n".utf8) + bytes
            _ = try? PathFile.read(DelimitedReader(headed, step: 5), PathReading())
            let touches = Array("person_id,timestamp,channel,conversion\n".utf8) + bytes
            _ = try? PathFile.read(DelimitedReader(touches, step: 11), PathReading())
        }
    }

    @Test func `columns come in any order, with quotes, CRLF, a byte order mark and any delimiter`() throws {
        let text =
            "\u{FEFF}total_null;path;total_conversion_value;total_conversions\r\n3;\"a > b;c\";1.5;1\r\n0; a>a ;2e1;2"
        for step in [1, 2, 3, 1000] {
            let table = try AttributionFixtures.read(text, step: step).table
            #expect(table.channels == ["a", "b;c"] && table.tokens == [0, 1, 0, 0] && table.ends == [2, 4])
            #expect(table.conversions == [1, 2] && table.values == [1.5, 20] && table.nulls == [3, 0])
        }
        var named = PathReading()
        named.columns = ["Weg", "Kauf", "", "Nichts"]
        named.separator = UInt8(ascii: "/")
        let table = try AttributionFixtures.read("Nichts\tKauf\tWeg\n1\t2\tx/ y \n", named).table
        #expect(table.channels == ["x", "y"] && !table.hasValues && table.hasNulls && table.nulls == [1])
    }

    @Test func `bad rows are listed by line, column and reason, and the good ones are used`() throws {
        let text = """
            path,total_conversions,total_conversion_value,total_null
            a > b,1,2.5,0
            a > b,-1,2.5,0
            a > b,one,2.5,0
             > ,1,2.5,0
            a,1,2.5
            a,0,2.5,0
            "a
            b",1,inf,0
            a,1,2,
            a,1,"2"x,0
            b,1,1,1,1
            b,2,4,1
            """
        let input = try AttributionFixtures.read(text)
        #expect(input.rows == 11 && input.badCount == 9 && input.table.count == 2)
        let found = input.bad.map { "\($0.line) \($0.column)" }
        #expect(
            found == [
                "3 total_conversions", "4 total_conversions", "5 path", "6 total_null", "7 total_conversion_value",
                "8 total_conversion_value", "10 total_null", "11 total_conversion_value", "12 5",
            ])
        #expect(input.bad[1].reason.contains("“one”") && input.bad[6].reason.contains("an empty field"))
        #expect(input.bad[3].reason == "the row has 3 columns, the header 4")
        var strict = PathReading()
        strict.strict = true
        #expect {
            try AttributionFixtures.read(text, strict)
        } throws: { error in
            guard case InputError.badRow(let row) = error else { return false }
            return row.line == 3 && row.sentence.hasPrefix("line 3, column total_conversions: ")
        }
    }

    @Test func `files that cannot be read say why`() throws {
        #expect(throws: InputError.empty) { try AttributionFixtures.read("") }
        #expect(throws: InputError.missingColumn(name: "path", header: ["a", "b"])) {
            try AttributionFixtures.read("a,b\n1,2\n")
        }
        #expect(throws: InputError.repeatedColumn("path")) { try AttributionFixtures.read("path,path\n") }
        #expect(throws: InputError.noGoodRows(bad: 1)) { try AttributionFixtures.read("path,conversions\na,x\n") }
        let open = try AttributionFixtures.read("path,conversions\nb,1\n\"a,1\nb,1\n")
        #expect(open.badCount == 1 && open.bad[0].line == 3 && open.bad[0].reason.contains("never closed"))
        let long = Array("path,conversions\n\"".utf8) + [UInt8](repeating: 97, count: 17 << 20)
        #expect(throws: InputError.recordTooLong(line: 2, bytesMax: DelimitedReader.recordBytesMax)) {
            try PathFile.read(DelimitedReader(long), PathReading())
        }
    }

    @Test func `touches become a journey for each conversion, and the rest a path to nothing`() throws {
        let text = """
            person_id,timestamp,channel,conversion,value
            p1,2026-01-03T00:00:00Z,email,1,10.5
            p1,2026-01-01T00:00:00Z,search,0,
            p2,1767225600,search,0,
            p1,2026-01-04 12:00:00,direct,0,
            p1,2026-01-05,,true,4
            p1,2026-01-06,social,0,0
            p3,2026-01-06,,1,3
            p2,never,search,0,0
            p2,2026-01-01,,0,0
            """
        let input = try AttributionFixtures.read(text)
        let table = input.table
        #expect(input.isTouchLevel && input.badCount == 2)
        #expect(table.organicConversions == 1 && table.organicValue == 3)
        var paths = (0..<table.count).map { row in
            table.tokens[table.range(row)].map { table.channels[Int($0)] }.joined(separator: ">")
                + " \(table.conversions[row]) \(table.values[row]) \(table.nulls[row])"
        }
        paths.sort()
        #expect(
            paths == [
                "search 0.0 0.0 1.0", "search>email 1.0 10.5 0.0", "search>email>direct 1.0 4.0 0.0",
                "social 0.0 0.0 1.0",
            ])
        let request = AttributionRequest(models: [.credit(.timeDecay)])
        let decay = try AttributionRun(table, request).results[0]
        let search = table.channels.firstIndex(of: "search") ?? 0
        let one: Double = pow(0.5, 2.0 / 7)
        let oldest: Double = pow(0.5, 3.5 / 7)
        let middle: Double = pow(0.5, 1.5 / 7)
        let expected: Double = one / (1 + one) + oldest / (oldest + middle + 1)
        #expect(apart(decay.conversions[search], expected) < 1e-12)
    }

    @Test func `a touch older than the lookback earns nothing, one at its edge does, and row order is no matter`()
        throws
    {
        var reading = PathReading()
        reading.lookback = .seconds(86_400)
        var lines = [
            "p,2026-01-01T00:00:00Z,old,0", "p,2026-01-02T00:00:00Z,edge,0", "p,2026-01-03T00:00:00Z,b,0",
            "p,2026-01-03T00:00:00Z,a,1",
        ]
        var random = SeededRandom(seed: 2)
        for _ in 0..<10 {
            lines.shuffle(using: &random)
            let text = "person_id,timestamp,channel,conversion\n" + lines.joined(separator: "\n")
            let table = try AttributionFixtures.read(text, reading).table
            #expect(table.count == 1 && table.tokens.map { table.channels[Int($0)] } == ["edge", "a", "b"])
            #expect(table.ages == [86_400, 0, 0])
        }
    }

    @Test func `a conversion has its 200 newest touches, however long the history`() throws {
        var text = "person_id,timestamp,channel,conversion\n"
        for second in 0..<300 { text += "p,\(1_700_000_000 + second),\(second < 100 ? "old" : "new"),0\n" }
        for second in 300..<303 { text += "p,\(1_700_000_000 + second),,1\n" }
        let table = try AttributionFixtures.read(text).table
        #expect(table.count == 3 && table.ends == [200, 400, 600])
        #expect(table.tokens.allSatisfy { table.channels[Int($0)] == "new" })
        #expect(table.ages.first == 199 && table.ages.last == 0)
    }

    @Test func `the milestone is the first one in the window`() throws {
        let text = """
            person_id,timestamp,channel,conversion,value,milestone
            p,2026-01-01,a,0,,
            p,2026-01-02,b,0,,0
            p,2026-01-02 12:00:00,,0,,1
            p,2026-01-03,c,0,,
            p,2026-01-03 12:00:00,,0,,yes
            p,2026-01-04,d,1,5,
            """
        func credits(_ reading: PathReading) throws -> [Double] {
            let table = try AttributionFixtures.read(text, reading).table
            #expect(table.channels == ["a", "b", "c", "d"])
            return try AttributionRun(table, AttributionRequest(models: [.credit(.wShaped)])).results[0].conversions
        }
        #expect(try zip(credits(PathReading()), [0.3, 0.3, 0, 0.4]).allSatisfy { ($0 - $1).magnitude < 1e-12 })
        var short = PathReading()
        short.lookback = .seconds(86_400)
        // The first milestone is out of the window: the second counts, and its touch is c, the first of two.
        #expect(try zip(credits(short), [0, 0, 0.6, 0.4]).allSatisfy { ($0 - $1).magnitude < 1e-12 })
    }

    @Test func `numbers, times, milestones and names that mean nothing are named`() throws {
        let numbers = try AttributionFixtures.read(
            "path,conversions,value,nulls,,\na,1e16,0,0,,\na,1,-1e308,0,,\na,1,9e15,0,,\nb,1,1,1e300,,\n")
        #expect(numbers.bad.map { "\($0.line) \($0.column)" } == ["2 conversions", "3 value", "5 nulls"])
        #expect(numbers.table.values == [9e15])
        let touches = try AttributionFixtures.read(
            "person,time,channel,conversion,value,milestone\np, 2026-01-01 ,a,1,,\np,2026-01-02,a,0,,maybe\n")
        #expect(touches.bad.map { "\($0.line) \($0.column)" } == ["3 milestone"] && touches.table.count == 1)
        #expect(throws: InputError.equalNames("\u{E9}")) {
            try AttributionFixtures.read("path,conversions\n\u{E9},1\ne\u{301},1\n")
        }
        #expect(throws: InputError.equalNames("\u{E9}")) {
            try AttributionFixtures.read("person,time,channel,conversion\np,1,\u{E9},1\np,2,e\u{301},1\n")
        }
        #expect(throws: InputError.repeatedColumn("PATH")) {
            try AttributionFixtures.read("path,conversions,PATH\na,1,b\n")
        }
    }

    @Test func `every writing of the direct channel is direct`() throws {
        let table = try AttributionFixtures.read("path,conversions\na > Direct > direct,1\n").table
        let run = try AttributionRun(table, AttributionRequest(models: [.credit(.lastNonDirect)]))
        let first = table.channels.firstIndex(of: "a") ?? -1
        #expect(run.results[0].conversions[first] == 1)
    }

    @Test func `models are found by name, and unknown ones are named`() throws {
        #expect(
            try ModelChoice.list("last_non_direct, TimeDecay,markov", orders: [2]).map(\.key)
                == ["lastNonDirect", "timeDecay", "markov2"])
        let unknown = #expect(throws: ModelChoice.UnknownModel.self) { try ModelChoice.list("magic", orders: [1]) }
        #expect(unknown?.sentence.hasPrefix("There is no model magic; models are all, first, ") == true)
        for empty in ["", ",", " "] {
            let none = #expect(throws: ModelChoice.UnknownModel.self) { try ModelChoice.list(empty, orders: [1]) }
            #expect(none?.sentence.hasPrefix("No model is named; models are all, ") == true)
        }
        #expect(ModelChoice.namesAll("first, All") && !ModelChoice.namesAll("first"))
        let table = try AttributionFixtures.read("path,conversions\na > b,2\n").table
        let run = try AttributionRun(table, AttributionRequest(models: ModelChoice.all(orders: [1])))
        #expect(
            run.results.map(\.model.key) == [
                "first", "last", "lastNonDirect", "linear", "position", "wShaped", "shapley",
            ])
        #expect(
            run.notes.contains { $0.contains("needs_half_life") } && run.notes.contains { $0.contains("needs_null") })
    }

    @Test func `the page escapes names and the CSV keeps formulas from running`() throws {
        let text = "path,conversions\n\"<b>&\"\"x\"\" > =1+1\",2\n"
        var reading = PathReading()
        reading.separator = UInt8(ascii: "~")
        let input = try AttributionFixtures.read(text, reading)
        #expect(input.table.channels == ["<b>&\"x\" > =1+1"])
        let run = try AttributionRun(input.table, AttributionRequest(models: [.credit(.first)]))
        let page = AttributionReport(input, run).html
        #expect(page.contains("&lt;b&gt;&amp;&quot;x&quot;") && !page.contains("<b>") && page.contains("<svg"))
        let formula = try AttributionFixtures.read("path,conversions\n=1+1,2\n")
        let plain = try AttributionRun(formula.table, AttributionRequest(models: [.credit(.first)]))
        #expect(AttributionReport(formula, plain).csv.contains("first,'=1+1,2.0"))
        // As characters, CR LF is one and a combining mark hides the sign before it.
        let names = [
            ("\"x\r\n=HYPERLINK(1)\"", "\"x\r\n=HYPERLINK(1)\""), ("=\u{301}", "'=\u{301}"),
            ("\"\r\nx\"", "\"'\r\nx\""), ("\"a\"\"\u{301}b\"", "\"a\"\"\u{301}b\""), ("plain", "plain"),
        ]
        for (name, expected) in names {
            let input = try AttributionFixtures.read("path,conversions\n\(name),1\n")
            let run = try AttributionRun(input.table, AttributionRequest(models: [.credit(.first)]))
            let csv = AttributionReport(input, run).csv
            let whole = "model,channel,conversions,value,removal_effect,rate_effect\r\nfirst,\(expected),1.0,,,\r\n"
            #expect(csv.utf8.elementsEqual(whole.utf8), "\(csv)")
        }
    }

    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func `rows are read the same in one pass and with care`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let names = [
            "a", "direct", "display", "affiliate", "sixteen-bytes-ab", "sixteen-bytes-ba", "more than sixteen bytes a",
            "more than sixteen bytes b", "é", "two words", "\u{FEFF}x", "seven77", "eight888", "eight889",
        ]
        let numbers = ["0", "1", "2", "17", "3.5", "1e2", " 4", "-1", "x", "", "99999999999999999", "000000000000001"]
        let separators = [" > ", ">", " >", "> ", ">\t", " > > "]
        let isDOS = Bool.random(using: &random)
        var (plain, quoted) = ("path,total_conversions,total_conversion_value,total_null", "")
        plain += isDOS ? "\r\n" : "\n"
        plain += isDOS ? "a > b,1,1,1\r\n" : "a > b,1,1,1\n"
        quoted = plain
        for _ in 0..<Int.random(in: 1...400, using: &random) {
            var path = ""
            for touch in 0..<Int.random(in: 0...6, using: &random) {
                if touch > 0 { path += separators.randomElement(using: &random) ?? "" }
                path += names.randomElement(using: &random) ?? ""
            }
            if Int.random(in: 0..<40, using: &random) == 0 { path += "\r" + path }
            let isGood = Int.random(in: 0..<4, using: &random) > 0
            var fields = (0..<3).map { _ in
                isGood ? "\(Int.random(in: 1...20, using: &random))" : numbers.randomElement(using: &random) ?? ""
            }
            if Int.random(in: 0..<30, using: &random) == 0 { fields.append("9") }
            if Int.random(in: 0..<30, using: &random) == 0 { fields.removeLast() }
            let end = (Int.random(in: 0..<30, using: &random) == 0 ? "\n" : "") + (isDOS ? "\r\n" : "\n")
            plain += path + "," + fields.joined(separator: ",") + end
            quoted += "\"" + path + "\"," + fields.joined(separator: ",") + end
        }
        if Bool.random(using: &random) { (plain, quoted) = (plain + "a > b,1,2,3", quoted + "\"a > b\",1,2,3") }
        let step = [1, 7, 64, 1000, Int.max].randomElement(using: &random) ?? 1
        let quick = try AttributionFixtures.read(plain, step: step)
        let careful = try AttributionFixtures.read(quoted, step: step)
        #expect(quick.rows == careful.rows && quick.bad == careful.bad, "seed \(seed)")
        #expect(quick.table.channels == careful.table.channels && quick.table.tokens == careful.table.tokens)
        #expect(quick.table.ends == careful.table.ends && quick.table.conversions == careful.table.conversions)
        #expect(quick.table.values == careful.table.values && quick.table.nulls == careful.table.nulls)
    }
}
