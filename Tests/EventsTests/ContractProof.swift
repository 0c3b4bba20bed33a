internal import AurumCore
internal import Events

/// What must hold of any body: readings agree, counts add up, and what is stored reads back.
///
/// The fuzzer and the tests ask the same questions.
enum ContractProof {
    private static let now = SegmentSeeds.StandingClock().now

    /// The first byte chooses the format, lines more often than others; the rest is the body.
    ///
    /// - Returns: what is wrong; nil when nothing is.
    static func problem(_ input: UnsafeRawBufferPointer) -> String? {
        guard let first = input.first else { return nil }
        let code = Int(first) % 64
        let format = code < WireFormat.allCases.count ? WireFormat.allCases[code] : .ndjson
        let body = UnsafeRawBufferPointer(rebasing: input.dropFirst())
        let checker = ContractChecker()
        let result = checker.verdicts(body, format: format, receivedAt: now)
        // What was learned the first time must not change what is said the second time.
        if checker.verdicts(body, format: format, receivedAt: now) != result { return "the second reading differs" }
        let plain = ContractChecker(isLearning: false)
        if plain.verdicts(body, format: format, receivedAt: now) != result { return "a form reads otherwise" }
        _ = SegmentEnvelope.writeKey(of: body)
        guard case .success(let verdicts) = result else { return nil }
        var lines: [[UInt8]]?
        if format == .ndjson {
            let found = body.split(separator: 0x0a).map { trimmed($0) }.filter { !$0.isEmpty }
            if verdicts.count != found.count { return "\(found.count) lines gave \(verdicts.count) events" }
            lines = found
        }
        do {
            return try readBack(body, format, verdicts.count, lines)
        } catch {
            return "\(error)"
        }
    }

    private static func trimmed(_ line: Slice<UnsafeRawBufferPointer>) -> [UInt8] {
        let blank: Set<UInt8> = [0x20, 0x09, 0x0d]
        var rest = line.drop { blank.contains($0) }
        while let last = rest.last, blank.contains(last) { rest = rest.dropLast() }
        return Array(rest)
    }

    /// Two blocks of the same body: what the first brings to the dictionaries, the second uses.
    private static func readBack(
        _ body: UnsafeRawBufferPointer, _ format: WireFormat, _ count: Int, _ lines: [[UInt8]]?
    ) throws -> String? {
        let check = try BlockCheck(VolatileLogStorage(), limits: EventLimits(), clock: SegmentSeeds.StandingClock())
        for round in 0..<2 {
            _ = check.append(body, format: format, receivedAt: now)
            guard let (block, texts) = try check.commit() else { return nil }
            if texts.count != count { return "block \(round) holds \(texts.count) of \(count) events" }
            if let lines, texts != lines { return "block \(round) gives other bytes back" }
            if let problem = try ColumnModel.difference(block) { return "block \(round), \(problem)" }
        }
        return nil
    }
}
