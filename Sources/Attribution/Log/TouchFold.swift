/// The events of one person that may be touchpoints, and what they are at one moment: events of one click id are one
/// touchpoint, of the earliest time and the strongest kind, and so are events of one campaign and kind within ten
/// seconds. Only events that are eligible at that moment are taken together, as in `Journey`: what came later, and what
/// is too old, says nothing. One a thread; its storage is reused.
struct TouchFold: ~Copyable {
    struct Touchpoint {
        var time: Int64
        var label: UInt32
        var kind: UInt8
    }

    private struct Event {
        var time: Int64
        var label: UInt32
        /// Of a network with windows of its own, else 0.
        var network: UInt32
        /// Number of the click id, -1 without one.
        var click: Int32
        var kind: UInt8
        /// Whether it is a touchpoint of its own among all events of the person.
        var isFirst: Bool
    }

    private var events: ContiguousArray<Event> = []
    private var clicks: ContiguousArray<UInt64> = []
    /// Of persons with many clicks.
    private var clickNumbers: [UInt64: Int32] = [:]
    /// By click: the touchpoint it led to, as far as it was met in this round.
    private var places: ContiguousArray<(round: UInt64, place: Int)> = []
    private var round: UInt64 = 0
    /// What was gathered last, oldest first.
    private(set) var touchpoints: ContiguousArray<Touchpoint> = []
    /// Touchpoints among all events, whatever the moment.
    private(set) var total = 0
    /// Whether it remembers what the last gathering took events into; runs do without.
    var isTraced = false
    /// By event from `assignedFrom` on: the touchpoint that it was taken into, -1 for none.
    private var assigned: ContiguousArray<Int32> = []
    private var assignedFrom = 0
    /// By click: the strongest of its events that were not after the moment of this round. Noted only where windows of
    /// networks and campaigns are in force; of other rounds it means nothing.
    private var strongest: ContiguousArray<(round: UInt64, event: Int)> = []

    /// Microseconds. Source: the specification of attribution, section 1.
    private static let sameTouchWithin: Int64 = 10_000_000
    /// Clicks of one person that are looked through one by one.
    private static let clicksLinear = 32
    /// Newest events of one moment that are looked at, and newest touchpoints that an event is compared with: far more
    /// than a person makes, so that somebody who stands for thousands does not take forever.
    static let eventsMax = 2000
    private static let comparedMax = 64

    var count: Int { events.count }
    var newest: Int64? { events.last?.time }

    mutating func begin() {
        events.removeAll(keepingCapacity: true)
        clicks.removeAll(keepingCapacity: true)
        places.removeAll(keepingCapacity: true)
        if !clickNumbers.isEmpty { clickNumbers.removeAll(keepingCapacity: true) }
        total = 0
    }

    func time(_ place: Int) -> Int64 { events[place].time }

    /// Adds an event that is not before the others.
    /// - Parameters:
    ///   - marked: the label with the number of the network.
    ///   - click: hash of the click id, 0 without one.
    mutating func add(time: Int64, marked: UInt32, kind: UInt8, click: UInt64) {
        let label = TouchLabel.bare(marked)
        let (number, isNew) = click == 0 ? (-1, true) : number(ofClick: click)
        var event = Event(
            time: time, label: label, network: TouchLabel.network(marked), click: number, kind: kind, isFirst: isNew)
        if isNew {
            var place = events.count
            let least = max(0, place - Self.comparedMax)
            while place > least, event.isFirst, time - events[place - 1].time <= Self.sameTouchWithin {
                place -= 1
                let known = events[place]
                if known.isFirst, known.label == label, known.kind == kind { event.isFirst = false }
            }
        }
        if event.isFirst { total += 1 }
        events.append(event)
    }

    private mutating func number(ofClick click: UInt64) -> (Int32, isNew: Bool) {
        if clickNumbers.isEmpty {
            for (number, known) in clicks.enumerated() where known == click {
                return (Int32(truncatingIfNeeded: number), false)
            }
        } else if let known = clickNumbers[click] {
            return (known, false)
        }
        let number = Int32(truncatingIfNeeded: clicks.count)
        clicks.append(click)
        places.append((0, 0))
        if !clickNumbers.isEmpty {
            clickNumbers[click] = number
        } else if clicks.count > Self.clicksLinear {
            for (number, known) in clicks.enumerated() { clickNumbers[known] = Int32(truncatingIfNeeded: number) }
        }
        return (number, true)
    }

    /// Takes the events that are eligible at a time together.
    /// - Parameters:
    ///   - end: events that are not after the time: the first so many.
    /// - Returns: false where older events had to be left out.
    mutating func gather(until time: Int64, end: Int, _ windows: TouchWindows) -> Bool {
        touchpoints.removeAll(keepingCapacity: true)
        round &+= 1
        let reach = windows.reach
        let least = max(0, end - Self.eventsMax)
        if isTraced { (assigned, assignedFrom) = (ContiguousArray(repeating: -1, count: end - least), least) }
        var first = end
        while first > least, time - events[first - 1].time <= reach { first -= 1 }
        if windows.era != nil { noteStrongest(least..<end) }
        for index in first..<end {
            let event = events[index]
            guard time - event.time <= window(event, windows) else { continue }
            if event.click >= 0, places[Int(event.click)].round == round {
                strengthen(places[Int(event.click)].place, event)
                if isTraced { assigned[index - least] = Int32(truncatingIfNeeded: places[Int(event.click)].place) }
                continue
            }
            var place = touchpoints.count
            if let same = same(event) {
                place = same
            } else {
                touchpoints.append(Touchpoint(time: event.time, label: event.label, kind: event.kind))
            }
            if event.click >= 0 { places[Int(event.click)] = (round, place) }
            if isTraced { assigned[index - least] = Int32(truncatingIfNeeded: place) }
        }
        return first == 0 || first > least || time - events[first - 1].time > reach
    }

    /// The touchpoint that the last gathering took an event into; nil for none, and without a trace.
    func touchpoint(of event: Int) -> Int? {
        let place = event - assignedFrom
        guard assigned.indices.contains(place), assigned[place] >= 0 else { return nil }
        return Int(assigned[place])
    }

    /// How old an event may be under the windows of the last gathering: microseconds.
    func window(of event: Int, _ windows: TouchWindows) -> Int64 { window(events[event], windows) }

    /// Events of one click id are one touchpoint, so that they have one window: what overrides say of the strongest of
    /// them, else the definition's of each kind.
    @inline(__always)
    private func window(_ event: Event, _ windows: TouchWindows) -> Int64 {
        guard windows.era != nil else { return windows.defined(event.kind) }
        var known = event
        if event.click >= 0, strongest[Int(event.click)].round == round {
            known = events[strongest[Int(event.click)].event]
        }
        return windows.overridden(kind: known.kind, label: known.label, network: known.network)
            ?? windows.defined(event.kind)
    }

    /// Also those that are too old themselves: they say whose click the others are of.
    private mutating func noteStrongest(_ range: Range<Int>) {
        while strongest.count < clicks.count { strongest.append((0, 0)) }
        for index in range where events[index].click >= 0 {
            let (click, known) = (Int(events[index].click), strongest[Int(events[index].click)])
            if known.round != round || Self.strength(events[index].kind) > Self.strength(events[known.event].kind) {
                strongest[click] = (round, index)
            }
        }
    }

    /// The newest touchpoint of the same campaign and kind that began at most ten seconds before.
    private func same(_ event: Event) -> Int? {
        var place = touchpoints.count
        let least = max(0, place - Self.comparedMax)
        while place > least, event.time - touchpoints[place - 1].time <= Self.sameTouchWithin {
            place -= 1
            if touchpoints[place].label == event.label, touchpoints[place].kind == event.kind { return place }
        }
        return nil
    }

    /// A click is stronger than a view, a view than a visit; the strongest event says kind and campaign.
    private mutating func strengthen(_ place: Int, _ event: Event) {
        guard Self.strength(event.kind) > Self.strength(touchpoints[place].kind) else { return }
        (touchpoints[place].kind, touchpoints[place].label) = (event.kind, event.label)
    }

    private static func strength(_ kind: UInt8) -> UInt8 {
        kind == LogRecord.Kind.click ? 3 : kind == LogRecord.Kind.view ? 2 : 1
    }
}
