#include "pcap_writer/file_set.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "pcap_writer/sidecar.hpp"
#include "temp_folder.hpp"

using namespace sluice;
using Catch::Matchers::Contains;
using pcap::FileSet;
using test::TempFolder;

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kWall = 1769903999 * kSecond;  // 2026-01-31 23:59:59 UTC
using Names = std::set<std::string>;

FileSet set_of(const FileSet::Options& options) {
    ::setenv("TZ", "UTC0", 1);
    ::tzset();
    auto set = FileSet::create(options);
    if (!set) FAIL(set.error().message);
    return std::move(*set);
}

FileSet::Next next_of(FileSet& set, std::int64_t wall_ns, std::uint64_t bytes = 0) {
    auto next = set.next(wall_ns, bytes);
    if (!next) FAIL(next.error().message);
    return *next;
}

// What the writer does with a file: place it, write it, close it.
FileSet::Next write_one(FileSet& set, std::int64_t wall_ns, std::size_t bytes,
                        std::uint64_t expected = 0) {
    const FileSet::Next next = next_of(set, wall_ns, expected);
    auto recycled = FileSet::apply(next);
    if (!recycled) FAIL(recycled.error().message);
    CHECK(*recycled == !next.recycle.empty());
    std::ofstream(next.path, std::ios::binary) << std::string(bytes, 'x');
    set.closed(next.path, bytes);
    return next;
}

std::string error_of(const FileSet::Options& options) {
    auto set = FileSet::create(options);
    return set ? "" : set.error().message;
}

}  // namespace

TEST_CASE("a capture that does not rotate is one file") {
    const TempFolder t;
    FileSet set = set_of({.pattern = t / "a.pcap", .port = "p0"});
    CHECK(next_of(set, kWall).path == t / "a.pcap");
    CHECK(next_of(set, kWall).path == t / "a.pcap");
    CHECK(set.size() == 1);
    t.make("a.pcap", 5);
    FileSet again = set_of({.pattern = t / "a.pcap", .port = "p0"});
    const FileSet::Next next = next_of(again, kWall);
    CHECK(next.path == t / "a.pcap");
    CHECK(next.recycle.empty());
    CHECK(next.remove.empty());
}

TEST_CASE("a ring recycles its oldest file") {
    const TempFolder t;
    FileSet set = set_of({.pattern = t / "a.pcap", .rotates = true, .files = 3});
    for (unsigned i = 0; i < 3; ++i) {
        const FileSet::Next next = write_one(set, kWall + i * kSecond, 10);
        CHECK(next.recycle.empty());
        CHECK(next.remove.empty());
    }
    const FileSet::Next next = write_one(set, kWall + 3 * kSecond, 10);
    CHECK(next.path == t / "a_00004_20260201000002.pcap");
    CHECK(next.recycle == t / "a_00001_20260131235959.pcap");
    CHECK(t.names() == Names{"a_00002_20260201000000.pcap", "a_00003_20260201000001.pcap",
                             "a_00004_20260201000002.pcap"});
    CHECK(set.bytes() == 30);
    CHECK(set.count() == 4);
}

TEST_CASE("a file that is still being written is never recycled") {
    const TempFolder t;
    FileSet set = set_of({.pattern = t / "a.pcap", .rotates = true, .files = 2});
    const FileSet::Next first = next_of(set, kWall);
    const FileSet::Next second = next_of(set, kWall);
    CHECK(next_of(set, kWall).recycle.empty());  // both are open
    set.closed(second.path, 1);
    CHECK(next_of(set, kWall).recycle == second.path);
    set.closed(first.path, 1);
    CHECK(next_of(set, kWall).recycle == first.path);
}

TEST_CASE("a ring of one file recycles that") {
    const TempFolder t;
    FileSet set = set_of({.pattern = t / "%H%M%S.pcap", .rotates = true, .files = 1});
    write_one(set, kWall, 10);
    // The same second, hence the same name: nothing to rename, and the file stays.
    const FileSet::Next next = write_one(set, kWall, 20);
    CHECK(next.path == t / "235959.pcap");
    CHECK(t.names() == Names{"235959.pcap"});
}

TEST_CASE("an earlier run's files are continued") {
    const TempFolder t;
    t.make("a_00009_20200101000000.pcap", 10, 50);
    t.make("a_00007_20200101000000.pcap", 10, 99);  // the count says it is older
    t.make("a_00008_20200101000000.pcap", 10, 1);
    const Names foreign = {"a.pcap", "a_00006_20200101000000.pcapng", "b_00001_20200101000000.pcap",
                           "a_7_20200101000000.pcap"};
    for (const std::string& name : foreign) t.make(name, 1000);
    std::filesystem::create_directory(t / "a_00005_20200101000000.pcap");
    std::filesystem::create_symlink(t / "a.pcap", t / "a_00004_20200101000000.pcap");

    FileSet set = set_of({.pattern = t / "a.pcap", .rotates = true, .files = 2});
    CHECK(set.size() == 3);
    CHECK(set.count() == 9);
    const FileSet::Next next = write_one(set, kWall, 10);
    CHECK(next.path == t / "a_00010_20260131235959.pcap");
    CHECK(next.recycle == t / "a_00007_20200101000000.pcap");
    CHECK(next.remove == std::vector<std::string>{t / "a_00008_20200101000000.pcap"});
    Names left = foreign;
    left.insert({"a_00009_20200101000000.pcap", "a_00010_20260131235959.pcap",
                 "a_00005_20200101000000.pcap", "a_00004_20200101000000.pcap"});
    CHECK(t.names() == left);
}

TEST_CASE("without a count, the time of change tells the oldest") {
    const TempFolder t;
    t.make("01.pcap", 10, 30);
    t.make("02.pcap", 10, 10);
    t.make("03.pcap", 10, 20);
    FileSet set = set_of({.pattern = t / "%H.pcap", .rotates = true, .files = 3});
    CHECK(write_one(set, kWall, 10).recycle == t / "02.pcap");
    CHECK(write_one(set, kWall, 10).recycle == t / "03.pcap");
    CHECK(t.names() == Names{"01.pcap", "23.pcap", "23_02.pcap"});
}

TEST_CASE("the disk limit counts every file of the set") {
    const TempFolder t;
    // Sizes far above a block, since what a file takes is counted in blocks.
    t.make("a_00001_20200101000000.pcap", 400'000);
    t.make("a_00002_20200101000000.pcap", 400'000);
    t.make("other.pcap", 4'000'000);
    FileSet set = set_of({.pattern = t / "a.pcap", .rotates = true, .disk_limit_bytes = 1'000'000});
    CHECK(set.size() == 2);
    const FileSet::Next first = write_one(set, kWall, 300'000, 300'000);
    CHECK(first.recycle == t / "a_00001_20200101000000.pcap");
    CHECK(first.remove.empty());
    // Of an unknown length: as long as the last one.
    const FileSet::Next second = write_one(set, kWall, 300'000);
    CHECK(second.recycle == t / "a_00002_20200101000000.pcap");
    CHECK(set.size() == 2);
    const FileSet::Next third = write_one(set, kWall, 900'000, 900'000);
    CHECK(!third.recycle.empty());
    CHECK(set.size() == 1);
    CHECK(set.bytes() == 900'000);
    CHECK(t.names() == Names{"other.pcap", "a_00005_20260131235959.pcap"});
    auto too_long = set.next(kWall, 1'000'001);
    REQUIRE(!too_long);
    CHECK_THAT(too_long.error().message, Contains("more than the disk limit of 1000000 bytes"));
}

TEST_CASE("a file system that others fill is not written any further") {
    const TempFolder t;
    t.make("a_00001_20200101000000.pcap", 4096);
    FileSet set = set_of({.pattern = t / "a.pcap", .rotates = true, .disk_limit_percent = 100});
    CHECK(write_one(set, kWall, 10).recycle.empty());
    // More than any disk holds: what is ours goes first, and then it is an error.
    auto next = set.next(kWall, std::uint64_t{1} << 60);
    REQUIRE(!next);
    CHECK(next.error().code == ENOSPC);
    CHECK_THAT(next.error().message, Contains("above the disk limit of 100 %"));
    CHECK_THAT(error_of({.pattern = t / "a.pcap", .disk_limit_percent = 101}),
               Contains("a disk limit of 101 %"));
}

TEST_CASE("a folder that is missing, or is none, is said so") {
    const TempFolder t;
    t.make("file", 1);
    CHECK_THAT(error_of({.pattern = t / "no/a.pcap"}),
               Contains(t / "no/\"") && Contains("No such file or directory"));
    CHECK_THAT(error_of({.pattern = t / "file/a.pcap"}), Contains("Not a directory"));
}

TEST_CASE("lanes that would share a file are refused") {
    const FileSet::Options a{.pattern = "a.pcap", .port = "p0", .queue = 0};
    FileSet::Options b = a;
    b.queue = 1;
    const FileSet::Options same[] = {a, b};
    auto checked = FileSet::check_distinct(same);
    REQUIRE(!checked);
    CHECK_THAT(checked.error().message,
               Contains("queue 0 of port p0 and queue 1 of port p0 would write to the same file") &&
                   Contains("%{queue}"));
    FileSet::Options c = a;
    FileSet::Options d = b;
    c.pattern = d.pattern = "a-%{queue}.pcap";
    c.rotates = d.rotates = true;
    const FileSet::Options distinct[] = {c, d};
    CHECK(FileSet::check_distinct(distinct));
}

TEST_CASE("a running capture's files are not taken over") {
    const TempFolder t;
    const std::string name = "a_00001_20200101000000.pcap";
    t.make(name, 10);
    auto sidecar = pcap::Sidecar::create(t / name, {});
    REQUIRE(sidecar);
    CHECK_THAT(error_of({.pattern = t / "a.pcap", .rotates = true}),
               Contains("is being written by another capture"));
    // Once its writer is dead, the file is an old one, and its sidecar goes with it.
    { const pcap::Sidecar dead = std::move(*sidecar); }
    FileSet set = set_of({.pattern = t / "a.pcap", .rotates = true, .files = 1});
    const FileSet::Next next = write_one(set, kWall, 10);
    CHECK(next.recycle == t / name);
    CHECK(t.names() == Names{"a_00002_20260131235959.pcap"});
}

TEST_CASE("what a dead run said of a file does not outlive it") {
    const TempFolder t;
    t.make("a.pcap", 10);
    auto sidecar = pcap::Sidecar::create(t / "a.pcap", {});
    REQUIRE(sidecar);
    FileSet set = set_of({.pattern = t / "a.pcap"});
    auto busy = set.next(kWall, 0);
    REQUIRE(!busy);
    CHECK(busy.error().code == EBUSY);
    CHECK_THAT(busy.error().message, Contains(t / "a.pcap\" is being written"));
    { const pcap::Sidecar dead = std::move(*sidecar); }
    CHECK(t.names() == Names{"a.pcap", "a.pcap.sluice-part"});
    write_one(set, kWall, 10);
    CHECK(t.names() == Names{"a.pcap"});
}

TEST_CASE("what vanished is created, not recycled") {
    const TempFolder t;
    FileSet set = set_of({.pattern = t / "a.pcap", .rotates = true, .files = 1});
    const FileSet::Next first = write_one(set, kWall, 10);
    ::unlink(first.path.c_str());
    const FileSet::Next second = next_of(set, kWall);
    CHECK(second.recycle == first.path);
    auto recycled = FileSet::apply(second);
    REQUIRE(recycled);
    CHECK(!*recycled);
    set.forget(second.path);
    CHECK(set.size() == 0);
}
