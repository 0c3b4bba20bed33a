internal import Synchronization

extension LogRun {
    /// Files of orders are fewer than those of persons: an order has few records.
    static let orderBitsMax = 7

    /// Finds the conversions that refunds are of, one file of orders after another, and adds what each refund takes to
    /// the records of the conversion's person.
    /// - Returns: by name.
    func joinRefunds(_ orders: SpillFiles, _ files: SpillFiles) throws -> [RefundTally] {
        let next = Atomic(0)
        let sums = Mutex([RefundTally](repeating: RefundTally(), count: plan.names.count))
        try share { isOver in
            var spill = SpillWriter(files)
            var match = RefundMatch(names: plan.names.count)
            var sorter = LogRecordSorter()
            var room = PartitionRoom()
            while !isOver() {
                let partition = next.add(1, ordering: .relaxed).oldValue
                guard partition < orders.count else { break }
                try control.step()
                let bytes = orders.size(partition)
                let isLarge = bytes > partitionBytes + partitionBytes / 4
                if isLarge { large.enter(bytes * 2) }
                defer {
                    if isLarge { large.leave(bytes * 2) }
                }
                try join(partition, orders, &room, &sorter, &match, &spill)
                if isLarge { room.free() }
            }
            try spill.finish()
            let found = match.tallies
            sums.withLock { sums in
                for name in sums.indices { sums[name].add(found[name]) }
            }
        }
        return sums.withLock { $0 }
    }

    private func join(
        _ partition: Int, _ orders: SpillFiles, _ room: inout PartitionRoom, _ sorter: inout LogRecordSorter,
        _ match: inout RefundMatch, _ spill: inout SpillWriter
    ) throws(LogAttributionError) {
        let count = try room.load(orders, partition, bytesMax: plan.request.settings.partitionBytesMax)
        orders.drop(partition)
        guard count > 0 else { return }
        let records = UnsafeMutableBufferPointer(start: room.records, count: count)
        sorter.sort(
            records, scratch: UnsafeMutableBufferPointer(start: room.scratch, count: count), skipBits: orders.bits)
        var start = 0
        while start < count {
            var end = start + 1
            while end < count, records[end].person == records[start].person { end += 1 }
            let order = UnsafeBufferPointer(UnsafeMutableBufferPointer(rebasing: records[start..<end]))
            // What the run does not look at would be a person with nothing but a refund.
            if let refund = match.match(order), plan.looksAt(refund) { try spill.add(refund) }
            start = end
        }
    }
}
