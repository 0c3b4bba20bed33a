package import AurumCore

extension JobDesk {
    /// A job as it is asked for, and the id that it will have.
    package typealias Wish = (new: NewJob, id: UID)
    /// Called for each row that will be added, with its organisation and how many rows of that one are decided on and
    /// not in the table yet. Throws where there is no room.
    package typealias TakeRoom = (_ org: String, _ pending: Int) throws -> Void

    /// Adds a job, or answers the one that holds its unique key.
    package func enqueue(_ new: NewJob, id: UID, takeRoom: () throws -> Void = {}) throws -> JobReceipt {
        try enqueue([(new, id)]) { _, _ in try takeRoom() }[0]
    }

    /// Adds jobs in their order, or answers those that hold their unique keys.
    /// - Throws: `JobError.unknownParent`, and what `JobMachine.admit` and `takeRoom` throw.
    package func enqueue(_ wishes: [Wish], takeRoom: TakeRoom) throws -> [JobReceipt] {
        var receipts: [JobReceipt] = []
        var batch: [Wish] = []
        var keys: Set<JobUniqueKey> = []
        func add() throws {
            receipts += try addBatch(batch, takeRoom)
            (batch, keys) = ([], [])
        }
        for wish in wishes {
            // What a job of the same batch decides is known only when that one is there.
            if let key = wish.new.uniqueKey, !keys.insert(key).inserted {
                try add()
                keys.insert(key)
            }
            if wish.new.after.isEmpty {
                batch.append(wish)
            } else {
                try add()
                receipts.append(try addChild(wish, takeRoom))
            }
        }
        try add()
        return receipts
    }

    /// Jobs without parents, of different unique keys.
    private func addBatch(_ wishes: [Wish], _ takeRoom: TakeRoom) throws -> [JobReceipt] {
        guard !wishes.isEmpty else { return [] }
        let holders = try standing(wishes.compactMap(\.new.uniqueKey))
        var rows: [UID: JobRecord] = [:]
        var order: [JobRecord] = []
        var pending: [String: Int] = [:]
        for (new, id) in wishes where new.uniqueKey.map({ holders[$0] == nil }) ?? true {
            try takeRoom(new.org, pending[new.org] ?? 0)
            pending[new.org, default: 0] += 1
            let row = try JobMachine.admit(new, id: id, parentsOpen: 0, now: now)
            rows[id] = row
            order.append(row)
        }
        let added = order.isEmpty ? [] : try table.insert(order)
        return try wishes.map { new, id in
            if let key = new.uniqueKey, let holder = holders[key] { return JobReceipt(id: holder, isDuplicate: true) }
            if added.contains(id) { return JobReceipt(id: id, isDuplicate: false) }
            guard let row = rows[id] else { throw JobError.unknownJob }
            return try addLate(row, new)
        }
    }

    /// How often a job is tried that found its key taken by somebody who was gone a moment later.
    private static var lateTries: Int { 5 }

    /// Somebody else took the unique key between the look and the row, and may have given it back meanwhile.
    private func addLate(_ row: JobRecord, _ new: NewJob) throws -> JobReceipt {
        guard let key = new.uniqueKey else { throw JobError.staleFence }
        for _ in 0..<Self.lateTries {
            if let holder = try standing([key])[key] { return JobReceipt(id: holder, isDuplicate: true) }
            if try table.insert([row]).contains(row.id) { return JobReceipt(id: row.id, isDuplicate: false) }
        }
        throw JobError.staleFence
    }

    private func addChild(_ wish: Wish, _ takeRoom: TakeRoom) throws -> JobReceipt {
        let (new, id) = wish
        if let key = new.uniqueKey, let holder = try standing([key])[key] {
            return JobReceipt(id: holder, isDuplicate: true)
        }
        try takeRoom(new.org, 0)
        let parents = Set(new.after)
        // Whoever ends one of them now waits, and then finds that somebody waits for it.
        try table.lock(ids: Array(parents), org: new.org)
        var (open, isLost) = (0, false)
        for parent in parents {
            guard var job = try table.job(id: parent, org: new.org) else { throw JobError.unknownParent(parent) }
            job.children += 1
            try table.update(job)
            if job.state == .dead || job.state == .cancelled { isLost = true }
            if job.state != .done { open += 1 }
        }
        let job = try JobMachine.admit(new, id: id, parentsOpen: open, now: now)
        let row = isLost ? JobMachine.parentDied(job, now: now) : job
        if try !table.insert([row]).contains(id) {
            let receipt = try addLate(row, new)
            if receipt.isDuplicate { return receipt }
        }
        for parent in parents { try table.addParent(parent, of: id, org: new.org) }
        return JobReceipt(id: id, isDuplicate: false)
    }

    /// Who keeps new jobs with these keys out. Those whose time is over are told so and keep nobody out.
    private func standing(_ keys: [JobUniqueKey]) throws -> [JobUniqueKey: UID] {
        guard !keys.isEmpty else { return [:] }
        var standing: [JobUniqueKey: UID] = [:]
        for (key, holder) in try table.holders(of: keys) {
            if JobMachine.isUniqueOver(holder, now: now) {
                try table.releaseUnique(holder)
            } else {
                standing[key] = holder.id
            }
        }
        return standing
    }
}

extension NewJob {
    var uniqueKey: JobUniqueKey? { unique.map { JobUniqueKey(org: org, type: kind.name, key: $0.key) } }
}
