internal import Events

/// Looks at one person after another: makes touchpoints of records, journeys of touchpoints, and divides every
/// conversion under the models that need nothing but its journey. Everything else that a fit needs is counted on the
/// way. One a thread; its storage is reused, so that nothing is allocated for a person.
struct PersonWalk: ~Copyable {
    private let plan: LogRunPlan
    private let control: LogRunControl
    /// Is told what becomes of conversions; nil in runs.
    private let witness: JourneyWitness?
    private let gaps: [Int64]
    private let minorUnits: [Int64]
    private let eras: WindowEras
    private var fold = TouchFold()
    /// Events of `fold` that are not after the conversion that was looked at last.
    private var reached = 0
    /// What became of each record: nothing, its own touch, or the direct visit of a session.
    private var roles: ContiguousArray<UInt8> = []
    private var sessions: ContiguousArray<Session>
    private var openApps: ContiguousArray<UInt8> = []
    private var orders: Set<UInt64> = []
    /// Click ids of the person's touches that are barred from credit: what they led to gets none either.
    private var rejectedClicks: Set<UInt64> = []
    private var isSeen: ContiguousArray<Bool>
    private var lastConversion: ContiguousArray<Int64>
    private var weights = JourneyWeights()
    private var journey = Buffers()
    /// Whether no touch of the journey had to be left out.
    private var isWhole = true
    private var journeys: JourneyWriter
    private var tally: CreditSums
    private let sums: SharedSums
    private let rowsMax: Int
    var counts: [MarkovChain.Counts]
    var paths: [PathTally]
    var facts: [ConversionTally]
    private(set) var touches = 0
    private(set) var persons = 0

    private struct Session {
        var isOpen = false
        var start: Int64 = 0
        var last: Int64 = .min
        /// Record of its first page, -1 before there is one.
        var first: Int32 = -1
        var hasVisit = false
    }

    /// The touches of one journey, oldest first.
    private struct Buffers: ~Copyable {
        let times: UnsafeMutablePointer<Int64>
        let labels: UnsafeMutablePointer<UInt32>
        let channels: UnsafeMutablePointer<UInt16>
        let slots: UnsafeMutablePointer<Int32>
        var count = 0

        init() {
            times = .allocate(capacity: JourneyWeights.touchesMax)
            times.initialize(repeating: 0, count: JourneyWeights.touchesMax)
            labels = .allocate(capacity: JourneyWeights.touchesMax)
            labels.initialize(repeating: 0, count: JourneyWeights.touchesMax)
            channels = .allocate(capacity: JourneyWeights.touchesMax)
            channels.initialize(repeating: 0, count: JourneyWeights.touchesMax)
            slots = .allocate(capacity: JourneyWeights.touchesMax)
            slots.initialize(repeating: 0, count: JourneyWeights.touchesMax)
        }

        deinit {
            times.deallocate()
            labels.deallocate()
            channels.deallocate()
            slots.deallocate()
        }
    }

    private enum Role {
        static let none: UInt8 = 0
        static let touch: UInt8 = 1
        static let direct: UInt8 = 2
    }

    /// Conversions of one person between two looks at whether the run is given up.
    private static let controlEach = 4096

    /// - Parameters:
    ///   - sums: where credits end up, after `finish()` all of them.
    ///   - rowsMax: combinations of campaign, channel, currency and day that this walk holds before.
    ///   - pathsMax: paths of each conversion that it tells apart.
    init(
        _ plan: LogRunPlan, journeys: consuming JourneyWriter, sums: SharedSums, rowsMax: Int, pathsMax: Int,
        control: LogRunControl, witness: JourneyWitness? = nil
    ) {
        (self.sums, self.rowsMax) = (sums, rowsMax)
        (self.plan, self.control, self.witness) = (plan, control, witness)
        self.journeys = journeys
        (gaps, minorUnits, eras) = (plan.sessionGaps, plan.minorUnits, WindowEras(plan))
        sessions = ContiguousArray(repeating: Session(), count: 256)
        isSeen = ContiguousArray(repeating: false, count: plan.names.count)
        lastConversion = ContiguousArray(repeating: .min, count: plan.names.count)
        tally = CreditSums(models: plan.ruleModels)
        counts = plan.names.flatMap { _ in
            (1...LogModel.ordersMax).map { MarkovChain.Counts(channels: TouchChannel.names.count, order: $0) }
        }
        paths = plan.names.map { _ in PathTally(pathsMax: pathsMax) }
        facts = plan.names.map { _ in ConversionTally() }
        fold.isTraced = witness != nil
    }

    mutating func finish() throws(LogAttributionError) {
        try journeys.finish()
        try sums.take(&tally)
    }

    /// All records of one person, in their order.
    mutating func walk(_ records: UnsafeBufferPointer<LogRecord>) throws(LogAttributionError) {
        persons += 1
        let hasConversions = prepare(records)
        gatherEvents(records)
        touches += fold.total
        if hasConversions { try convert(records) }
        for name in plan.names.indices {
            countNull(name)
            if hasConversions { (isSeen[name], lastConversion[name]) = (false, .min) }
        }
    }

    // MARK: touchpoints

    /// Gives every record its role. A session runs over all events of a person in one app and makes one visit: of its
    /// first page that carries an origin, or a direct one of its first page.
    /// - Returns: whether there are conversions.
    private mutating func prepare(_ records: UnsafeBufferPointer<LogRecord>) -> Bool {
        roles.removeAll(keepingCapacity: true)
        openApps.removeAll(keepingCapacity: true)
        if !rejectedClicks.isEmpty { rejectedClicks.removeAll(keepingCapacity: true) }
        var hasConversions = false
        for (index, record) in records.enumerated() {
            switch record.kind {
            case LogRecord.Kind.click, LogRecord.Kind.view:
                goOn(record)
                roles.append(Role.touch)
            case LogRecord.Kind.visit, LogRecord.Kind.page: roles.append(page(record, index))
            case LogRecord.Kind.other:
                goOn(record)
                roles.append(Role.none)
            case LogRecord.Kind.rejected:
                goOn(record)
                roles.append(Role.none)
                if record.extra != 0 { rejectedClicks.insert(record.extra) }
            default:
                roles.append(Role.none)
                if record.kind == LogRecord.Kind.conversion { hasConversions = true }
            }
        }
        for app in openApps {
            close(Int(app))
            sessions[Int(app)] = Session()
        }
        return hasConversions
    }

    /// The session of the record's app goes on with it, or another begins.
    private mutating func goOn(_ record: LogRecord) {
        let app = Int(record.app)
        let session = sessions[app]
        if !session.isOpen {
            openApps.append(record.app)
        } else if record.time - session.last <= gaps[app], record.time - session.start <= SessionRule.lengthMax {
            sessions[app].last = record.time
            return
        } else {
            close(app)
        }
        sessions[app] = Session(isOpen: true, start: record.time, last: record.time)
    }

    private mutating func page(_ record: LogRecord, _ index: Int) -> UInt8 {
        goOn(record)
        let app = Int(record.app)
        if sessions[app].first < 0 { sessions[app].first = Int32(truncatingIfNeeded: index) }
        guard record.kind == LogRecord.Kind.visit, !sessions[app].hasVisit else { return Role.none }
        sessions[app].hasVisit = true
        return Role.touch
    }

    private mutating func close(_ app: Int) {
        let session = sessions[app]
        if !session.hasVisit, session.first >= 0 { roles[Int(session.first)] = Role.direct }
    }

    private mutating func gatherEvents(_ records: UnsafeBufferPointer<LogRecord>) {
        fold.begin()
        for (index, record) in records.enumerated() where roles[index] != Role.none {
            if isBarred(record) { continue }
            let kind = roles[index] == Role.direct ? LogRecord.Kind.visit : record.kind
            fold.add(time: record.time, marked: record.label, kind: kind, click: record.extra)
        }
    }

    /// Whether the record's click is one that gets no credit.
    @inline(__always)
    private func isBarred(_ record: LogRecord) -> Bool {
        !rejectedClicks.isEmpty && record.extra != 0 && rejectedClicks.contains(record.extra)
    }

    // MARK: journeys

    private mutating func convert(_ records: UnsafeBufferPointer<LogRecord>) throws(LogAttributionError) {
        if !orders.isEmpty { orders.removeAll(keepingCapacity: true) }
        let milestone = records.first { $0.kind == LogRecord.Kind.milestone }?.time
        reached = 0
        var met = 0
        for index in records.indices {
            let record = records[index]
            guard record.kind == LogRecord.Kind.conversion else { continue }
            met += 1
            if met % Self.controlEach == 0 {
                try control.check()
                try witness?.check()
            }
            let number = Int(record.label & 0xffff)
            let name = plan.conversions[number].name
            if isRepeated(record, number, records, after: index) {
                if record.time >= plan.from { facts[name].repeated += 1 }
                witness?.leftOut(record)
                continue
            }
            isSeen[name] = true
            lastConversion[name] = record.time
            guard record.time >= plan.from else { continue }
            // Most logs have none: nothing is looked for then.
            let refund = plan.refunds.isEmpty ? nil : refund(of: number, records, behind: index)
            try credit(record, number, milestone: milestone, refund: refund)
            if let witness, witness.credited(record) {
                tell(witness, of: record, number, records, milestone: milestone, refund: refund)
            }
        }
    }

    private mutating func isRepeated(
        _ record: LogRecord, _ number: Int, _ records: UnsafeBufferPointer<LogRecord>, after index: Int
    ) -> Bool {
        let conversion = plan.conversions[number]
        switch conversion.definition.repeats {
        case .each: return false
        case .oncePerPerson: return isSeen[conversion.name]
        case .perOrderID:
            // The order stands behind the conversions of its event.
            var place = index + 1
            while place < records.count, records[place].time == record.time, records[place].id == record.id,
                records[place].tail == record.tail
            {
                if records[place].kind == LogRecord.Kind.order, Int(records[place].label) == number {
                    let order = records[place].extra &* 0x9e37_79b9_7f4a_7c15 ^ UInt64(conversion.name)
                    return !orders.insert(order).inserted
                }
                place += 1
            }
            return false
        }
    }

    /// What refunds take off a conversion; nil without one.
    private func refund(of number: Int, _ records: UnsafeBufferPointer<LogRecord>, behind index: Int) -> Int64? {
        let record = records[index]
        var place = index + 1
        while place < records.count, records[place].time == record.time, records[place].id == record.id,
            records[place].tail == record.tail
        {
            if records[place].kind == LogRecord.Kind.refund, Int(records[place].label) == number {
                return Int64(bitPattern: records[place].extra)
            }
            place += 1
        }
        return nil
    }

    private mutating func credit(
        _ record: LogRecord, _ number: Int, milestone: Int64?, refund: Int64?
    ) throws(LogAttributionError) {
        let conversion = plan.conversions[number]
        let name = conversion.name
        try sums.take(&tally, from: rowsMax)
        // Conversions come in their order, so that no event is passed twice.
        while reached < fold.count, fold.time(reached) <= record.time { reached += 1 }
        isWhole = gather(until: record.time, end: reached, windows(of: conversion, at: record.time))
        if !isWhole { facts[name].truncated += 1 }
        facts[name].conversions += 1
        facts[name].touches += journey.count
        if conversion.custom == nil { facts[name].unweighed += 1 }
        let money = money(record, conversion)
        let back = returned(refund, of: money)
        if back.isAll { facts[name].refunds.returned += 1 }
        if back.minor > 0, !back.isAll { facts[name].refunds.partlyReturned += 1 }
        let day = Int32(clamping: Int(record.time.flooredDay))
        guard journey.count > 0 else {
            facts[name].organic += 1
            let label = TouchLabel.of(campaign: 0, channel: TouchChannel.organic)
            let key = CreditTally.Key(name: name, currency: money.currency, day: day, label: label)
            let slot = try tally.credited.slot(key)
            let returnSlot = back.minor == 0 ? 0 : try tally.returned.slot(key)
            for model in 0..<(LogModel.rules.count + (conversion.custom == nil ? 0 : 1)) {
                try tally.credited.add(slot, model: model, credit: 1_000_000, minor: money.minor)
                if back.minor != 0 {
                    try tally.returned.add(returnSlot, model: model, credit: 0, minor: back.minor)
                }
            }
            return
        }
        let known = journeyFacts(of: conversion, at: record.time, milestone: milestone)
        var returnSlots: [Int] = []
        for index in 0..<journey.count {
            let key = CreditTally.Key(name: name, currency: money.currency, day: day, label: journey.labels[index])
            journey.slots[index] = Int32(truncatingIfNeeded: try tally.credited.slot(key))
            if back.minor != 0 { returnSlots.append(try tally.returned.slot(key)) }
        }
        for (place, model) in LogModel.rules.enumerated() {
            weights.weigh(model, known)
            try share(money.minor, returned: back.minor, returnSlots, model: place)
        }
        if let custom = conversion.custom {
            weights.weigh(custom, known)
            try share(money.minor, returned: back.minor, returnSlots, model: LogModel.rules.count)
        }
        if back.isAll { facts[name].undone += 1 }
        countPath(name, conversions: back.isAll ? 0 : 1, nulls: back.isAll ? 1 : 0)
        paths[name].add(UnsafeBufferPointer(start: journey.channels, count: journey.count))
        try journeys.add(
            name: name, currency: money.currency, day: day, minor: money.minor, returned: back.minor,
            labels: UnsafeBufferPointer(start: journey.labels, count: journey.count))
    }

    /// Adds every touch's part of the conversion, and what refunds took of it, under the weights that were asked for
    /// last.
    @inline(__always)
    private mutating func share(
        _ minor: Int64, returned: Int64, _ returnSlots: [Int], model: Int
    ) throws(LogAttributionError) {
        try weights.share(
            minor, count: journey.count, slots: UnsafePointer(journey.slots), model: model, &tally.credited)
        guard returned != 0 else { return }
        try weights.share(returned: returned, of: minor, slots: returnSlots, model: model, &tally.returned)
    }

    private func windows(of conversion: LogRunPlan.Conversion, at time: Int64) -> TouchWindows {
        TouchWindows(click: conversion.click, view: conversion.view, era: eras.era(at: time))
    }

    /// What the rules want to know of the journey.
    private func journeyFacts(
        of conversion: LogRunPlan.Conversion, at time: Int64, milestone: Int64?
    ) -> JourneyWeights.Facts {
        var known = JourneyWeights.Facts(
            count: journey.count, times: UnsafePointer(journey.times), labels: UnsafePointer(journey.labels))
        known.halfLife = conversion.halfLifeSeconds
        if let milestone, milestone <= time {
            var place = journey.count - 1
            while place >= 0, journey.times[place] > milestone { place -= 1 }
            known.milestone = place
        }
        return known
    }

    /// Tells what became of each touch at the conversion that was credited last, and how every model divides it.
    private mutating func tell(
        _ witness: JourneyWitness, of record: LogRecord, _ number: Int, _ records: UnsafeBufferPointer<LogRecord>,
        milestone: Int64?, refund: Int64?
    ) {
        let conversion = plan.conversions[number]
        let money = money(record, conversion)
        let back = returned(refund, of: money)
        var seen = JourneyWitness.Seen(record: record, number: number, minor: money.minor, currency: money.currency)
        (seen.isWhole, seen.milestone) = (isWhole, milestone)
        (seen.returned, seen.isReturned) = (back.minor, back.isAll)
        let first = fold.touchpoints.count - journey.count
        for index in 0..<journey.count {
            let touch = fold.touchpoints[first + index]
            seen.journey.append(
                JourneyWitness.Touch(time: touch.time, label: touch.label, kind: touch.kind))
        }
        var (place, taken) = (0, Set<Int>())
        for (index, known) in records.enumerated() {
            let fate: JourneyWitness.Fate
            switch known.kind {
            case LogRecord.Kind.rejected: fate = .rejected
            case LogRecord.Kind.click, LogRecord.Kind.view, LogRecord.Kind.visit, LogRecord.Kind.page:
                if roles[index] == Role.none {
                    fate = .inSession
                } else if isBarred(known) {
                    fate = .rejectedClick
                } else {
                    fate = self.fate(place, known, first, conversion, at: record.time, &taken)
                    place += 1
                }
            default: continue
            }
            seen.touches.append((known, fate))
        }
        if journey.count > 0 {
            let known = journeyFacts(of: conversion, at: record.time, milestone: milestone)
            seen.milestonePlace = known.milestone
            seen.models = witness.weigh(
                &weights, known, minor: money.minor, returned: back.minor, custom: conversion.custom)
        }
        witness.tell(seen)
    }

    /// - Parameters:
    ///   - place: of the event among those that were folded.
    ///   - first: the touchpoint that the journey begins with.
    ///   - taken: touchpoints that an event before this one was taken into.
    private func fate(
        _ place: Int, _ record: LogRecord, _ first: Int, _ conversion: LogRunPlan.Conversion, at time: Int64,
        _ taken: inout Set<Int>
    ) -> JourneyWitness.Fate {
        guard place < reached else { return .after }
        if let gathered = fold.touchpoint(of: place) {
            let touchpoint = gathered - first
            guard touchpoint >= 0 else { return .tooMany }
            return taken.insert(touchpoint).inserted ? .touchpoint(touchpoint) : .merged(touchpoint)
        }
        let window = fold.window(of: place, windows(of: conversion, at: time))
        return time - record.time > window ? .outsideWindow : .tooMany
    }

    /// What the conversion is worth, to the nearest minor unit.
    private func money(_ record: LogRecord, _ conversion: LogRunPlan.Conversion) -> (minor: Int64, currency: UInt32) {
        if let fixed = conversion.fixed { return fixed }
        let value = Int64(bitPattern: record.extra)
        guard value != .min else { return (0, 0) }
        let currency = record.label >> 16
        return (LogRunPlan.minor(value, unit: minorUnits[Int(min(1001, currency))]), currency)
    }

    /// What refunds leave nothing of, or take in minor units.
    private func returned(
        _ refund: Int64?, of money: (minor: Int64, currency: UInt32)
    ) -> (minor: Int64, isAll: Bool) {
        guard let refund else { return (0, false) }
        let unit = minorUnits[Int(min(1001, money.currency))]
        let minor = RefundAmount.minor(refund, of: money.minor, unit: unit)
        return (minor, RefundAmount.isAll(refund, returned: minor, of: money.minor))
    }

    /// The newest touchpoints that are eligible at a time, oldest first.
    /// - Parameter end: events that are not after the time.
    /// - Returns: false where older ones had to be left out.
    private mutating func gather(until time: Int64, end: Int, _ windows: TouchWindows) -> Bool {
        let isWhole = fold.gather(until: time, end: end, windows)
        let first = max(0, fold.touchpoints.count - JourneyWeights.touchesMax)
        journey.count = fold.touchpoints.count - first
        for index in 0..<journey.count {
            let touch = fold.touchpoints[first + index]
            journey.times[index] = touch.time
            journey.labels[index] = touch.label
            journey.channels[index] = UInt16(TouchLabel.channel(touch.label))
        }
        return isWhole && first == 0
    }

    /// The touches after the last conversion led to nothing yet: as far as they were eligible at the last of them.
    private mutating func countNull(_ name: Int) {
        guard let last = fold.newest, last >= plan.from, last > lastConversion[name] else { return }
        guard let window = plan.windows[name] else { return }
        let since = lastConversion[name] == .min ? Int64.max : last - lastConversion[name] - 1
        let windows = TouchWindows(click: window.click, view: window.view, era: eras.era(at: last), most: since)
        _ = gather(until: last, end: fold.count, windows)
        guard journey.count > 0 else { return }
        facts[name].nulls += 1
        countPath(name, conversions: 0, nulls: 1)
    }

    private mutating func countPath(_ name: Int, conversions: Double, nulls: Double) {
        let path = UnsafeBufferPointer(start: UnsafePointer(journey.channels), count: journey.count)
        for order in 0..<LogModel.ordersMax {
            counts[name * LogModel.ordersMax + order].add(path, conversions: conversions, value: 0, nulls: nulls)
        }
    }
}

extension Int64 {
    /// Days since 1970 of microseconds since 1970.
    var flooredDay: Int64 {
        let (days, rest) = quotientAndRemainder(dividingBy: 86_400_000_000)
        return rest < 0 ? days - 1 : days
    }
}

extension JourneyWeights {
    /// Adds every touch's part of a conversion under the model whose weights were asked for last.
    /// - Parameter slots: of each touch in the tally.
    /// - Throws: `tooLarge`.
    mutating func share(
        _ minor: Int64, count: Int, slots: UnsafePointer<Int32>, model: Int, _ tally: inout CreditTally
    ) throws(LogAttributionError) {
        let credits = divide(1_000_000, count: count)
        for index in 0..<count { try tally.add(Int(slots[index]), model: model, credit: credits[index], minor: 0) }
        guard minor != 0 else { return }
        let parts = divide(minor, count: count)
        for index in 0..<count { try tally.add(Int(slots[index]), model: model, credit: 0, minor: parts[index]) }
    }

    /// Adds what refunds took of every touch's part of a conversion, by the same weights.
    /// - Throws: `tooLarge`.
    mutating func share(
        returned: Int64, of minor: Int64, slots: [Int], model: Int, _ tally: inout CreditTally
    ) throws(LogAttributionError) {
        let parts = divide(returned: returned, of: minor, count: slots.count)
        for (slot, part) in zip(slots, parts) { try tally.add(slot, model: model, credit: 0, minor: part) }
    }
}
