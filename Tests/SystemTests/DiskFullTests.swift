import AurumCore
import Database
import Foundation
import Telemetry
import TestSupport
import Testing
import Validation

/// A full disk before a running server, as an interposed library makes it: while a file exists, nothing that would make
/// a file of the data folder longer finds room, and the volume says so. What a file has already may be written over, as
/// on a real disk.
@Suite(.serialized) struct DiskFullTests {
    private static let library = #"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <fcntl.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/stat.h>
        #include <sys/statvfs.h>
        #include <sys/vfs.h>
        #include <unistd.h>

        static int full(void) {
            const char *flag = getenv("FULL_DISK_FILE");
            int kept = errno, is = flag && access(flag, F_OK) == 0;
            errno = kept;
            return is;
        }
        static int in_folder(const char *path) {
            const char *folder = getenv("FULL_DISK_FOLDER");
            return folder && strncmp(path, folder, strlen(folder)) == 0;
        }
        /* Whether bytes up to `end` find no room. */
        static int refuses(int fd, off_t end) {
            if (!full()) return 0;
            char link[64], path[4096];
            struct stat s;
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t n = readlink(link, path, sizeof path - 1);
            if (n < 0) return 0;
            path[n] = 0;
            return in_folder(path) && fstat(fd, &s) == 0 && end > s.st_size;
        }
        #define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))
        typedef ssize_t (*pwriter)(int, const void *, size_t, off_t);
        ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
            if (refuses(fd, at + (off_t)count)) { errno = ENOSPC; return -1; }
            return REAL(pwriter, "pwrite")(fd, bytes, count, at);
        }
        ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
            if (refuses(fd, at + (off_t)count)) { errno = ENOSPC; return -1; }
            return REAL(pwriter, "pwrite64")(fd, bytes, count, at);
        }
        ssize_t write(int fd, const void *bytes, size_t count) {
            if (full()) {
                int kept = errno;
                struct stat s;
                off_t at = lseek(fd, 0, SEEK_CUR);
                if (at >= 0 && (fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &s) == 0) at = s.st_size;
                errno = kept;
                if (at >= 0 && refuses(fd, at + (off_t)count)) { errno = ENOSPC; return -1; }
            }
            return REAL(ssize_t (*)(int, const void *, size_t), "write")(fd, bytes, count);
        }
        int posix_fallocate(int fd, off_t at, off_t count) {
            if (refuses(fd, at + count)) return ENOSPC;
            return REAL(int (*)(int, off_t, off_t), "posix_fallocate")(fd, at, count);
        }
        int posix_fallocate64(int fd, off64_t at, off64_t count) { return posix_fallocate(fd, at, count); }
        int fallocate(int fd, int mode, off_t at, off_t count) {
            if (refuses(fd, at + count)) { errno = ENOSPC; return -1; }
            return REAL(int (*)(int, int, off_t, off_t), "fallocate")(fd, mode, at, count);
        }
        int fallocate64(int fd, int mode, off64_t at, off64_t count) { return fallocate(fd, mode, at, count); }
        int statvfs(const char *path, struct statvfs *volume) {
            int code = REAL(int (*)(const char *, struct statvfs *), "statvfs")(path, volume);
            if (code == 0 && full() && in_folder(path)) volume->f_bavail = volume->f_bfree = 0;
            return code;
        }
        int statvfs64(const char *path, struct statvfs64 *volume) {
            int code = REAL(int (*)(const char *, struct statvfs64 *), "statvfs64")(path, volume);
            if (code == 0 && full() && in_folder(path)) volume->f_bavail = volume->f_bfree = 0;
            return code;
        }
        int statfs(const char *path, struct statfs *volume) {
            int code = REAL(int (*)(const char *, struct statfs *), "statfs")(path, volume);
            if (code == 0 && full() && in_folder(path)) volume->f_bavail = volume->f_bfree = 0;
            return code;
        }
        int statfs64(const char *path, struct statfs64 *volume) {
            int code = REAL(int (*)(const char *, struct statfs64 *), "statfs64")(path, volume);
            if (code == 0 && full() && in_folder(path)) volume->f_bavail = volume->f_bfree = 0;
            return code;
        }
        """#

    /// Compiles the library.
    private func build(in folder: TemporaryFolder) async throws -> String {
        let (source, made) = (folder.file("full.c"), folder.file("full.so"))
        try Self.library.write(toFile: source, atomically: true, encoding: .utf8)
        let compiler = try ChildProcess("/usr/bin/cc", ["-shared", "-fPIC", "-o", made, source, "-ldl"])
        let status = try await compiler.exit(within: .seconds(60))
        try #require(status == 0, "\(compiler.output)")
        return made
    }

    /// A write of the records that is no bulk work.
    private func makeKey(_ admin: TestClient, _ name: String) async throws -> TestClient.Answer {
        try await admin.post("/v1/keys", ["name": .string(name), "scopes": ["events:write", "events:read"]])
    }

    private func send(_ sender: TestClient, _ id: String) async throws -> TestClient.Answer {
        let event = #"{"id":"\#(id)","type":"track","name":"kept","user_id":"x"}"#
        return try await sender.call(
            "POST", "/v1/events", Array(event.utf8), ["content-type": "application/x-ndjson"])
    }

    private func names(_ admin: TestClient) async throws -> Set<String> {
        let answer = try await admin.get("/v1/keys")
        #expect(answer.status == 200, "reads go on: \(answer.text.prefix(300))")
        return Set((answer.body["keys"]?.array ?? []).compactMap { $0["name"]?.string })
    }

    private func until(_ what: String, within limit: Duration, _ isTrue: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + limit
        while try await !isTrue() {
            try #require(ContinuousClock.now < deadline, "\(what) not within \(limit)")
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    @Test func `a full disk is refused by name, reads go on, nothing is half there, and room is enough to go on`()
        async throws
    {
        let folder = TemporaryFolder()
        let flag = folder.file("full")
        let server = SpawnedServer(
            executable: AurumBinary.path,
            environment: [
                "LD_PRELOAD": try await build(in: folder), "FULL_DISK_FILE": flag,
                "FULL_DISK_FOLDER": folder.file("data"), "AURUM_LOG_LEVEL": "critical",
            ], dataDirectory: folder.file("data"))
        var target = try await server.start()
        var admin = TestClient(url: target.url, key: target.adminToken)
        let sender = try await admin.makeKey(["events:write", "events:read"])
        #expect(try await send(sender, "before").status == 202)
        var made: Set<String> = ["before"]
        #expect(try await makeKey(admin, "before").status == 201)
        var spare: [String] = []
        for number in 0..<20 {
            spare.append(try #require(try await makeKey(admin, "spare-\(number)").body["id"]?.string))
        }

        #expect(FileManager.default.createFile(atPath: flag, contents: nil))
        // The write-ahead log has some room of its own yet; whatever is acknowledged out of it is there.
        var refusal: TestClient.Answer?
        for number in 0..<3000 where refusal == nil {
            let answer = try await makeKey(admin, "full-\(number)")
            if answer.status == 201 { made.insert("full-\(number)") } else { refusal = answer }
        }
        let refused = try #require(refusal, "no write found the disk full after \(made.count)")
        #expect(refused.status == 503 && refused.body["code"] == "disk_full", "\(refused.text)")
        #expect(refused.headers["retry-after"] != nil)
        // What is small may still fit where a larger one did not, until nothing does.
        var last = ""
        for id in spare where last != "disk_full" {
            let answer = try await admin.call("DELETE", "/v1/keys/\(id)")
            if answer.status != 204 { last = answer.body["code"]?.string ?? answer.text }
        }
        #expect(last == "disk_full")
        for number in 0..<3 {
            let answer = try await makeKey(admin, "late-\(number)")
            #expect(answer.status == 503 && answer.body["code"] == "disk_full", "\(answer.text)")
        }
        #expect(try await admin.get("/v1/jobs").status == 200, "reads of the records go on")
        #expect(try await names(admin).isSuperset(of: made))
        let event = try await send(sender, "during")
        #expect(event.status == 503 && event.body["code"] == "storage_full", "\(event.text)")
        try await until("health names the disk", within: .seconds(20)) {
            let component = try await admin.get("/health").body["components"]?["database"]
            return component?["reason"] == "disk_full" && component?["state"] == "down"
        }
        #expect(try await admin.get("/health/ready").status == 503)

        // Room again: no restart is needed.
        try FileManager.default.removeItem(atPath: flag)
        let freed = ContinuousClock.now
        try await until("a write", within: .seconds(10)) { try await makeKey(admin, "after").status == 201 }
        made.insert("after")
        try await until("an event", within: .seconds(10)) { try await send(sender, "after").status == 202 }
        try await until("ready", within: .seconds(15)) { try await admin.get("/health/ready").status == 200 }
        #expect(ContinuousClock.now - freed < .seconds(15))

        // What a restart finds is what was acknowledged, whole.
        target = try await server.restart()
        admin = TestClient(url: target.url, key: target.adminToken)
        let found = try await names(admin)
        #expect(found.isSuperset(of: made), "lost: \(made.subtracting(found))")
        let mine = found.filter { $0.hasPrefix("full-") || $0.hasPrefix("late-") }
        #expect(mine.isSubset(of: made), "refused for certain, and there: \(mine.subtracting(made))")
        await server.stop()
        let database = try Database.openSQLite(
            at: folder.file("data/aurum.db"), registry: MetricRegistry(), clock: SystemWallClock())
        let verdict = try await database.read("test.integrity") { tx in
            try tx.value(String.self, "PRAGMA integrity_check")
        }
        #expect(verdict == "ok")
        try database.close()
        let log = try await AurumBinary.run(["events", "verify", folder.file("data")])
        #expect(log.status == 0, "\(log.output)")
    }
}
