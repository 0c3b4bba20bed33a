import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// A disk that takes no more: `fsync` of the records' file fails, as an interposed library makes it.
@Suite struct DiskSyncTests {
    private static let library = #"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>
        static int fails(int fd) {
            const char *flag = getenv("FAIL_SYNC_FILE");
            if (!flag || access(flag, F_OK) != 0) return 0;
            char link[64], path[4096];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t n = readlink(link, path, sizeof path - 1);
            if (n < 0) return 0;
            path[n] = 0;
            return strstr(path, "/aurum.db") != NULL;
        }
        static int run(int fd, const char *name) {
            if (fails(fd)) { errno = EIO; return -1; }
            return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
        }
        int fsync(int fd) { return run(fd, "fsync"); }
        int fdatasync(int fd) { return run(fd, "fdatasync"); }
        """#

    /// Compiles the library.
    private func build(in folder: TemporaryFolder) async throws -> String {
        let (source, made) = (folder.file("sync.c"), folder.file("sync.so"))
        try Self.library.write(toFile: source, atomically: true, encoding: .utf8)
        let compiler = try ChildProcess("/usr/bin/cc", ["-shared", "-fPIC", "-o", made, source, "-ldl"])
        let status = try await compiler.exit(within: .seconds(60))
        try #require(status == 0, "\(compiler.output)")
        return made
    }

    @Test func `a commit that the disk does not take is never called refused, and nothing is written after it`()
        async throws
    {
        let folder = TemporaryFolder()
        let flag = folder.file("fail")
        let server = SpawnedServer(
            executable: AurumBinary.path,
            environment: [
                "LD_PRELOAD": try await build(in: folder), "FAIL_SYNC_FILE": flag, "AURUM_LOG_LEVEL": "critical",
            ], dataDirectory: folder.file("data"))
        var target = try await server.start()
        var admin = TestClient(url: target.url, key: target.adminToken)
        #expect(try await admin.post("/v1/exports", ["format": "ndjson"]).status == 201)
        let key = try await admin.makeKey(["events:write", "events:read"])

        #expect(FileManager.default.createFile(atPath: flag, contents: nil))
        var codes: Set<String> = []
        for _ in 0..<5 {
            let answer = try await admin.post("/v1/exports", ["format": "ndjson"])
            #expect(answer.status == 503, "\(answer.text)")
            codes.insert(answer.body["code"]?.string ?? "")
        }
        // The first may have been another's commit.
        #expect(codes.isSubset(of: ["commit_unknown", "database_unavailable"]), "\(codes)")
        #expect(codes.contains("database_unavailable"))
        let health = try await untilDown(admin)
        #expect(health["reason"] == "read_only", "\(health.canonical)")
        #expect(try await admin.get("/v1/jobs").status == 200, "reads go on")
        let event: [UInt8] = Array(#"{"id":"after","type":"track","name":"kept","user_id":"x"}"#.utf8)
        let sender = TestClient(url: target.url, key: key.key)
        let headers = ["content-type": "application/x-ndjson"]
        #expect(
            try await sender.call("POST", "/v1/events", event, headers).status == 202, "the event log is another file")
        let output = await server.output
        #expect(output.contains("database_read_only"))

        // A disk that works again is not trusted: what it dropped is not known.
        try FileManager.default.removeItem(atPath: flag)
        #expect(try await admin.post("/v1/exports", ["format": "ndjson"]).status == 503)
        target = try await server.restart()
        admin = TestClient(url: target.url, key: target.adminToken)
        #expect(try await admin.post("/v1/exports", ["format": "ndjson"]).status == 201)
        await server.stop()
    }

    private func untilDown(_ admin: TestClient) async throws -> JSONValue {
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            let component = try await admin.get("/health").body["components"]?["database"] ?? .null
            if component["state"] == "down" || ContinuousClock.now > deadline { return component }
            try await Task.sleep(for: .milliseconds(100))
        }
    }
}
