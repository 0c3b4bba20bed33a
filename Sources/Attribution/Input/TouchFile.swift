internal import AurumCore

/// Reads one touch a row and puts the journeys together: for each conversion the touches of its person up to it, and
/// for touches that led to nothing one path of its own.
enum TouchFile {
    struct Columns {
        let count: Int
        let names: [String]
        let person: Int
        let time: Int
        let channel: Int
        let conversion: Int
        let value: Int?
        let milestone: Int?

        private static let known = [
            ["person_id", "person", "user_id"], ["timestamp", "time", "ts"], ["channel"],
            ["conversion", "conversions"], ["value"], ["milestone"],
        ]

        init(_ header: PathFile.Header, _ given: [String]? = nil) throws(InputError) {
            var places: [Int?] = []
            for (index, usual) in Self.known.enumerated() {
                let place =
                    try given.map { names throws(InputError) in try header.place(names, index) }
                    ?? header.place(ofAny: usual)
                if index < 4, place == nil { throw .missingColumn(name: usual[0], header: header.names) }
                places.append(place)
            }
            names = header.names
            count = names.count
            person = places[0] ?? 0
            time = places[1] ?? 0
            channel = places[2] ?? 0
            conversion = places[3] ?? 0
            value = places[4]
            milestone = places[5]
        }
    }

    private struct Touch {
        var person: Int
        var time: Int64
        /// -1 for a row that converts without being a touch.
        var channel: Int32
        var isMilestone: Bool
        var conversions: Double
        var value: Double
    }

    static func fits(_ header: PathFile.Header) -> Bool {
        header.place(ofAny: ["person_id", "person", "user_id"]) != nil && header.place(ofAny: ["channel"]) != nil
    }

    static func read(
        _ reader: inout DelimitedReader, _ reading: PathReading, _ columns: Columns, _ progress: PathFile.Progress
    ) throws(InputError) -> PathInput {
        var input = PathInput()
        input.isTouchLevel = true
        var (persons, channels) = (NameTable(), NameTable())
        var touches: [Touch] = []
        while try reader.next() {
            input.rows += 1
            if input.rows % PathFile.progressEvery == 0 { progress(reader.bytesRead) }
            switch touch(reader, columns, &persons, &channels) {
            case .success(let touch): touches.append(touch)
            case .failure(let refusal):
                let name = refusal.column < columns.count ? columns.names[refusal.column] : "\(refusal.column + 1)"
                try input.refuse(
                    BadRow(line: reader.line, column: name, reason: refusal.reason), strict: reading.strict)
            }
            if channels.count > PathTable.channelsMax { throw .tooManyChannels(PathTable.channelsMax) }
        }
        let sorted = channels.sorted
        for index in touches.indices where touches[index].channel >= 0 {
            touches[index].channel = Int32(truncatingIfNeeded: sorted.places[Int(touches[index].channel)])
        }
        // Equal times are ordered by channel name, never by the order of rows; a conversion comes after its touches.
        touches.sort {
            ($0.person, $0.time, $0.channel < 0 ? Int32.max : $0.channel)
                < ($1.person, $1.time, $1.channel < 0 ? Int32.max : $1.channel)
        }
        input.table = PathTable(channels: sorted.names, hasValues: columns.value != nil, hasNulls: true)
        try input.table.checkNames()
        try assemble(touches, reading.lookback, hasMilestones: columns.milestone != nil, into: &input.table)
        return input
    }

    private struct Refusal: Error {
        let column: Int
        let reason: String
    }

    private static func touch(
        _ reader: borrowing DelimitedReader, _ columns: Columns, _ persons: inout NameTable,
        _ channels: inout NameTable
    ) -> Result<Touch, Refusal> {
        if let (column, reason) = PathFile.shape(reader, columns.count) {
            return .failure(Refusal(column: column, reason: reason))
        }
        let written = reader.withField(columns.time) { String(decoding: NumberText.trimmed($0), as: UTF8.self) }
        guard let time = time(written) else {
            let reason =
                "\(PathFile.shown(reader, columns.time)) is no time; write 2026-11-21T09:30:00Z or Unix seconds"
            return .failure(Refusal(column: columns.time, reason: reason))
        }
        guard let conversions = reader.withField(columns.conversion, count) else {
            let reason = PathFile.notACount(reader, columns.conversion)
            return .failure(Refusal(column: columns.conversion, reason: reason))
        }
        var value = 0.0
        if let column = columns.value, reader.withField(column, { !NumberText.trimmed($0).isEmpty }) {
            guard let found = reader.withField(column, NumberText.double) else {
                return .failure(Refusal(column: column, reason: PathFile.notANumber(reader, column)))
            }
            if found != 0, conversions == 0 {
                return .failure(Refusal(column: column, reason: "a value without a conversion"))
            }
            value = found
        }
        var isMilestone = false
        if let column = columns.milestone {
            guard let found = reader.withField(column, count) else {
                return .failure(Refusal(column: column, reason: PathFile.notACount(reader, column)))
            }
            isMilestone = found > 0
        }
        if reader.withField(columns.person, { NumberText.trimmed($0).isEmpty }) {
            return .failure(Refusal(column: columns.person, reason: "the person is empty"))
        }
        let isTouch = reader.withField(columns.channel) { !NumberText.trimmed($0).isEmpty }
        if !isTouch, conversions == 0, !isMilestone {
            return .failure(Refusal(column: columns.channel, reason: "neither a channel nor a conversion"))
        }
        let person = reader.withField(columns.person) { persons.number(NumberText.trimmed($0)) }
        let channel = isTouch ? reader.withField(columns.channel) { channels.number(NumberText.trimmed($0)) } : -1
        return .success(
            Touch(
                person: person, time: time, channel: Int32(truncatingIfNeeded: channel), isMilestone: isMilestone,
                conversions: conversions, value: value))
    }

    /// 0, 1, a count, true or false; an empty field is 0.
    private static func count(_ bytes: UnsafeBufferPointer<UInt8>) -> Double? {
        let text = NumberText.trimmed(bytes)
        if text.isEmpty { return 0 }
        if let number = NumberText.double(text) { return number >= 0 ? number : nil }
        return switch String(decoding: text, as: UTF8.self).lowercased() {
        case "true", "yes": 1
        case "false", "no": 0
        default: nil
        }
    }

    /// Microseconds since 1970 of RFC 3339, of a date with or without a time of day (then in UTC), or of Unix seconds
    /// or milliseconds.
    static func time(_ text: String) -> Int64? {
        if let whole = Int64(text) {
            guard whole.magnitude < 100_000_000_000_000 else { return nil }
            return whole.magnitude < 100_000_000_000 ? whole * 1_000_000 : whole * 1000
        }
        if let known = Timestamp(rfc3339: text) { return known.microseconds }
        let iso = text.replacing(" ", with: "T", maxReplacements: 1)
        for candidate in [String(iso), iso + "Z", iso + "T00:00:00Z"] {
            if let known = Timestamp(rfc3339: candidate) { return known.microseconds }
        }
        return nil
    }

    /// The touches of one person, and how far they are in the journeys of that person's conversions.
    private struct Person {
        /// Places of rows that are touches, oldest first.
        var touches: [Int] = []
        /// Times of milestones, oldest first.
        var milestones: [Int64] = []
        /// `touches[from..<upTo]` are those in the window of the conversion at hand.
        var from = 0
        var upTo = 0
        /// The first milestone in that window.
        var milestone = 0
    }

    /// One pass over the rows: windows of a person's conversions only move on.
    private static func assemble(
        _ touches: [Touch], _ lookback: Duration?, hasMilestones: Bool, into table: inout PathTable
    ) throws(InputError) {
        let window = lookback.map { $0.components.seconds * 1_000_000 } ?? .max
        var index = 0
        var person = Person()
        while index < touches.count {
            let start = index
            person.touches.removeAll(keepingCapacity: true)
            person.milestones.removeAll(keepingCapacity: true)
            (person.from, person.upTo, person.milestone) = (0, 0, 0)
            while index < touches.count, touches[index].person == touches[start].person {
                if touches[index].channel >= 0 { person.touches.append(index) }
                if hasMilestones, touches[index].isMilestone { person.milestones.append(touches[index].time) }
                index += 1
            }
            for at in start..<index where touches[at].conversions > 0 {
                path(touches, &person, until: touches[at], window, hasMilestones, &table)
                try checkSize(table)
            }
            rest(touches, person.touches[person.upTo...], hasMilestones, &table)
            try checkSize(table)
        }
    }

    private static func checkSize(_ table: PathTable) throws(InputError) {
        if table.tokens.count > PathTable.touchesMax { throw .tooManyTouches(PathTable.touchesMax) }
    }

    /// Appends the newest `Journey.touchesMax` touches in the window of a conversion. All touches of its moment count,
    /// also those that sort after the row that converts.
    private static func path(
        _ touches: [Touch], _ person: inout Person, until last: Touch, _ window: Int64, _ hasMilestones: Bool,
        _ table: inout PathTable
    ) {
        while person.upTo < person.touches.count, touches[person.touches[person.upTo]].time <= last.time {
            person.upTo += 1
        }
        while person.from < person.upTo, last.time - touches[person.touches[person.from]].time > window {
            person.from += 1
        }
        let eligible = person.touches[max(person.from, person.upTo - Journey.touchesMax)..<person.upTo]
        guard let newest = eligible.last else {
            table.organicConversions += last.conversions
            table.organicValue += last.value
            return
        }
        if hasMilestones {
            while person.milestone < person.milestones.count,
                last.time - person.milestones[person.milestone] > window
            { person.milestone += 1 }
            var place = -1
            if person.milestone < person.milestones.count, person.milestones[person.milestone] <= last.time {
                let first = person.milestones[person.milestone]
                place =
                    (eligible.lastIndex { touches[$0].time <= first } ?? eligible.startIndex - 1)
                    - eligible.startIndex
            }
            table.milestones.append(Int32(truncatingIfNeeded: place))
        }
        append(touches, eligible, newest, to: &table)
        table.close(conversions: last.conversions, value: last.value, nulls: 0)
    }

    /// Touches after the last conversion, or of a person without one: all of them, as one path to nothing.
    private static func rest(
        _ touches: [Touch], _ left: ArraySlice<Int>, _ hasMilestones: Bool, _ table: inout PathTable
    ) {
        guard let newest = left.last else { return }
        if hasMilestones { table.milestones.append(-1) }
        append(touches, left, newest, to: &table)
        table.close(conversions: 0, value: 0, nulls: 1)
    }

    private static func append(
        _ touches: [Touch], _ places: ArraySlice<Int>, _ newest: Int, to table: inout PathTable
    ) {
        for place in places {
            table.ages.append(Double(touches[newest].time - touches[place].time) * 1e-6)
            table.tokens.append(UInt16(truncatingIfNeeded: touches[place].channel))
        }
    }
}
