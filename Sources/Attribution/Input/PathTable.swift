/// Paths with what they led to, laid out flat: the input of every model over many journeys.
package struct PathTable: Sendable {
    /// Channel names in order of their bytes; tokens are places in it.
    package internal(set) var channels: [String] = []
    /// Channels of all paths, one path after the other, oldest touch first.
    package internal(set) var tokens: [UInt16] = []
    /// Where each path ends in `tokens`.
    package internal(set) var ends: [Int] = []
    package internal(set) var conversions: [Double] = []
    /// Value of the conversions of each path; zeros when the input has none.
    package internal(set) var values: [Double] = []
    /// Paths that led to nothing; zeros when the input has none.
    package internal(set) var nulls: [Double] = []
    /// Seconds from each touch to the last of its path; empty when the input has no times.
    package internal(set) var ages: [Double] = []
    /// Place in its path of each path's milestone touch, -1 for none; empty when the input names none.
    package internal(set) var milestones: [Int32] = []
    /// Conversions without any touch before them, and their value: no channel earns them.
    package internal(set) var organicConversions = 0.0
    package internal(set) var organicValue = 0.0
    package internal(set) var hasValues = false
    package internal(set) var hasNulls = false

    /// Channels are numbered in 16 bits; the last number is kept free.
    package static let channelsMax = 65_534
    package static let touchesMax = 2_000_000_000

    package init() {}

    package var count: Int { ends.count }
    package var totalConversions: Double { conversions.reduce(0, +) }
    package var totalValue: Double { values.reduce(0, +) }
    package var totalNulls: Double { nulls.reduce(0, +) }
    package var hasTimes: Bool { !ages.isEmpty }

    package func range(_ row: Int) -> Range<Int> { (row == 0 ? 0 : ends[row - 1])..<ends[row] }

    /// Appends one path; used by readers and by generators.
    package mutating func append(_ path: [UInt16], conversions c: Double, value: Double, nulls n: Double) {
        tokens += path
        close(conversions: c, value: value, nulls: n)
    }

    /// Ends the path whose tokens were appended last.
    mutating func close(conversions c: Double, value: Double, nulls n: Double) {
        ends.append(tokens.count)
        conversions.append(c)
        values.append(value)
        nulls.append(n)
    }

    /// - Throws: when two names are one text, such as é in two normal forms: answers name channels by their text.
    func checkNames() throws(InputError) {
        var seen: Set<String> = []
        for name in channels where !seen.insert(name).inserted { throw .equalNames(name) }
    }

    /// A table made by hand or by a generator.
    package init(channels: [String], hasValues: Bool = true, hasNulls: Bool = true) {
        self.channels = channels
        self.hasValues = hasValues
        self.hasNulls = hasNulls
    }

    /// Takes the numbers of `names` for those of its sorted names, so that no result depends on the order of rows.
    mutating func adopt(_ names: NameTable) {
        let sorted = names.sorted
        channels = sorted.names
        let places = sorted.places.map { UInt16(truncatingIfNeeded: $0) }
        for index in tokens.indices { tokens[index] = places[Int(tokens[index])] }
    }
}

/// What was read of a file.
package struct PathInput: Sendable {
    package internal(set) var table = PathTable()
    /// Data rows, bad ones included.
    package internal(set) var rows = 0
    package internal(set) var badCount = 0
    /// The first bad rows, at most `badRowsKeptMax`.
    package internal(set) var bad: [BadRow] = []
    /// Whether the input was one touch a row.
    package internal(set) var isTouchLevel = false
    package static let badRowsKeptMax = 1000

    package init() {}

    mutating func refuse(_ row: BadRow, strict: Bool) throws(InputError) {
        if strict { throw .badRow(row) }
        badCount += 1
        if bad.count < Self.badRowsKeptMax { bad.append(row) }
    }
}

/// How a file is to be read.
package struct PathReading: Sendable {
    /// Separates the channels of a path; only its first byte counts.
    package var separator = UInt8(ascii: ">")
    /// nil finds out by itself.
    package var delimiter: UInt8?
    /// Column names in the order path, conversions, value, nulls or person, time, channel, conversion, value; empty
    /// text for a column that is not there; nil takes the names that are usual.
    package var columns: [String]?
    /// Stops at the first bad row.
    package var strict = false
    /// How old a touch may be when its person converts; nil sets no bound. Touch-level input only.
    package var lookback: Duration?

    package init() {}
}
