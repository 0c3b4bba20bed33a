internal import CAssets

/// A file embedded in the binary. Reading one never touches the disk.
package enum Asset {
    /// The bytes of the embedded file `name` (for example `solar/725033.csv`), or nil when there is none.
    package static func bytes(_ name: String) -> UnsafeRawBufferPointer? {
        var row = aurum_assets()
        while let pointer = row, let rowName = pointer.pointee.name {
            if String(cString: rowName) == name {
                return UnsafeRawBufferPointer(start: pointer.pointee.bytes, count: pointer.pointee.length)
            }
            row = pointer.advanced(by: 1)
        }
        return nil
    }

    /// The embedded file `name` as text. A missing file is a mistake of ours and traps at once.
    package static func text(_ name: String) -> String {
        guard let bytes = bytes(name) else { preconditionFailure("no embedded file \(name)") }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Names of all embedded files below `folder` (for example `flows/`), in table order.
    package static func names(in folder: String) -> [String] {
        var names: [String] = []
        var row = aurum_assets()
        while let pointer = row, let rowName = pointer.pointee.name {
            let name = String(cString: rowName)
            if name.hasPrefix(folder) { names.append(name) }
            row = pointer.advanced(by: 1)
        }
        return names
    }
}
