import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// A machine whose clock ran a day ahead and is set right, as an interposed library makes it.
@Suite struct ClockStepTests {
    private static let steppedClock = #"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdlib.h>
        #include <time.h>
        #include <unistd.h>
        int clock_gettime(clockid_t id, struct timespec *time) {
            static int (*real)(clockid_t, struct timespec *);
            if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
            int result = real(id, time);
            const char *flag = getenv("CLOCK_AHEAD_FILE");
            if (result == 0 && id == CLOCK_REALTIME && flag && access(flag, F_OK) == 0) time->tv_sec += 86400;
            return result;
        }
        """#

    /// Compiles the library.
    private func build(in folder: TemporaryFolder) async throws -> String {
        let (source, made) = (folder.file("clock.c"), folder.file("clock.so"))
        try Self.steppedClock.write(toFile: source, atomically: true, encoding: .utf8)
        let compiler = try ChildProcess("/usr/bin/cc", ["-shared", "-fPIC", "-o", made, source, "-ldl"])
        let status = try await compiler.exit(within: .seconds(60))
        try #require(status == 0, "\(compiler.output)")
        return made
    }

    private func send(_ sender: TestClient, _ id: String) async throws -> Int {
        let event = Array(#"{"id":"\#(id)","type":"track","name":"kept","user_id":"x"}"#.utf8)
        let headers = ["content-type": "application/x-ndjson"]
        return try await sender.call("POST", "/v1/events", event, headers).status
    }

    /// When the schedule that is furthest away ticks next.
    private func lastTick(_ admin: TestClient) async throws -> Timestamp {
        let schedules = try await admin.get("/v1/jobs/overview").body["schedules"]?.array ?? []
        let ticks = schedules.compactMap { $0["next_at"]?.string.flatMap { Timestamp(rfc3339: $0) } }
        return try #require(ticks.max())
    }

    @Test func `limits and schedules go on when a clock that ran a day ahead is set back`() async throws {
        let folder = TemporaryFolder()
        let flag = folder.file("ahead")
        #expect(FileManager.default.createFile(atPath: flag, contents: nil))
        let server = SpawnedServer(
            executable: AurumBinary.path,
            environment: ["LD_PRELOAD": try await build(in: folder), "CLOCK_AHEAD_FILE": flag],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let sender = TestClient(url: target.url, key: try await admin.makeKey(["events:write"], publishable: true).key)
        #expect(try await send(sender, "ahead") == 202)
        #expect(try await lastTick(admin) > SystemWallClock().now + .seconds(80_000), "the library does its work")

        try FileManager.default.removeItem(atPath: flag)
        #expect(try await send(sender, "after") == 202, "the key was used a moment ago, not tomorrow")
        let deadline = ContinuousClock.now + .seconds(30)
        while try await lastTick(admin) > SystemWallClock().now + .seconds(7200), ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(try await lastTick(admin) < SystemWallClock().now + .seconds(7200))
        #expect(await server.output.contains("schedules_brought_back"))
        await server.stop()
    }
}
