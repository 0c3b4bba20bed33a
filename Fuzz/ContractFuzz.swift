/// libFuzzer's entry: any bytes as a body of any format. A crash, a hang, or anything that `ContractProof` objects to is
/// a finding: two readings that differ, a count that does not add up, a stored event that does not read back.
///
/// `make fuzz` builds and runs it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    if let problem = ContractProof.problem(UnsafeRawBufferPointer(start: bytes, count: count)) {
        fatalError(problem)
    }
    return 0
}
