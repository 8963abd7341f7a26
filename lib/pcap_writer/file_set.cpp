#include "pcap_writer/file_set.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <tuple>

#include "pcap_writer/sidecar.hpp"

namespace sluice::pcap {
namespace {

struct CloseDir {
    void operator()(DIR* d) const noexcept { ::closedir(d); }
};

// What of a file system is in use, as df counts it: without what is reserved for root.
struct Usage {
    std::uint64_t used = 0;
    std::uint64_t total = 0;
};

std::string folder_to_open(const std::string& folder) { return folder.empty() ? "." : folder; }

Result<Usage> usage_of(const std::string& folder) {
    struct statvfs v {};
    const std::string path = folder_to_open(folder);
    if (::statvfs(path.c_str(), &v) != 0)
        return fail(errno, "cannot tell how full the file system of \"{}\" is: {}", path,
                    std::strerror(errno));
    const std::uint64_t used = (v.f_blocks - v.f_bfree) * v.f_frsize;
    return Usage{used, used + v.f_bavail * v.f_frsize};
}

Result<NamePattern> pattern_of(const FileSet::Options& o) {
    return NamePattern::parse(o.pattern, o.port, o.queue, o.rotates);
}

// Preallocated blocks count, even behind the end of the file.
std::uint64_t bytes_of(const struct stat& s) {
    return std::max(static_cast<std::uint64_t>(s.st_size),
                    static_cast<std::uint64_t>(s.st_blocks) * 512);
}

}  // namespace

Result<FileSet> FileSet::create(const Options& options) {
    if (options.disk_limit_percent > 100)
        return fail(EINVAL, "a disk limit of {} %, expected at most 100 %",
                    options.disk_limit_percent);
    SLUICE_TRY(NamePattern pattern, pattern_of(options));
    FileSet set(options, std::move(pattern));
    SLUICE_TRY_VOID(set.scan());
    return set;
}

Result<> FileSet::check_distinct(std::span<const Options> lanes) {
    std::vector<NamePattern> patterns;
    for (const Options& lane : lanes) {
        SLUICE_TRY(NamePattern pattern, pattern_of(lane));
        for (std::size_t i = 0; i < patterns.size(); ++i)
            if (patterns[i].overlaps(pattern))
                return fail(EINVAL, "queue {} of port {} and queue {} of port {} would write to "
                            "the same file \"{}\", tell them apart by %{{port}} or %{{queue}} in "
                            "the name", lanes[i].queue, lanes[i].port, lane.queue, lane.port,
                            lane.pattern);
        patterns.push_back(std::move(pattern));
    }
    return {};
}

Result<> FileSet::scan() {
    const std::string folder = folder_to_open(pattern_.folder());
    const std::unique_ptr<DIR, CloseDir> dir(::opendir(folder.c_str()));
    if (!dir)
        return fail(errno, "cannot write \"{}\": the folder \"{}\": {}", options_.pattern, folder,
                    std::strerror(errno));
    if (::access(folder.c_str(), W_OK | X_OK) != 0)
        return fail(errno, "cannot write \"{}\": no files can be created in the folder \"{}\": {}",
                    options_.pattern, folder, std::strerror(errno));
    if (!pattern_.varies()) return {};
    while (const dirent* entry = ::readdir(dir.get())) {
        const std::optional<std::uint64_t> count = pattern_.match(entry->d_name);
        struct stat s {};
        if (!count || ::fstatat(::dirfd(dir.get()), entry->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(s.st_mode))
            continue;
        if (Sidecar::in_use(path_of(entry->d_name)))
            return fail(EBUSY, "\"{}\" is being written by another capture, tell them apart by "
                        "%{{port}} or %{{queue}} in the name", path_of(entry->d_name));
        const std::int64_t mtime_ns =
            std::int64_t{s.st_mtim.tv_sec} * 1'000'000'000 + s.st_mtim.tv_nsec;
        files_.push_back({entry->d_name, *count, mtime_ns, bytes_of(s), false});
        count_ = std::max(count_, *count);
    }
    std::sort(files_.begin(), files_.end(), [](const File& a, const File& b) {
        return std::tie(a.count, a.mtime_ns, a.name) < std::tie(b.count, b.mtime_ns, b.name);
    });
    return {};
}

Result<FileSet::Next> FileSet::next(std::int64_t wall_ns, std::uint64_t file_bytes_expected) {
    Next out;
    std::uint64_t freed = 0;
    if (options_.files != 0)
        while (files_.size() >= options_.files && oldest() < files_.size())
            freed += retire(oldest(), out);
    SLUICE_TRY_VOID(make_room(file_bytes_expected, freed, out));
    ++count_;
    const std::string name = unused_name(wall_ns);
    out.path = path_of(name);
    if (Sidecar::in_use(out.path))
        return fail(EBUSY, "\"{}\" is being written by another capture", out.path);
    remove_sidecar_of(out.path, out);
    const std::uint64_t bytes = file_bytes_expected != 0 ? file_bytes_expected : bytes_last_;
    if (const std::size_t known = find(name); known < files_.size())
        files_.erase(files_.begin() + static_cast<std::ptrdiff_t>(known));
    files_.push_back({name, count_, wall_ns, bytes, true});
    return out;
}

// Of the oldest files, as many go as the limits of the disk ask for.
// `freed`: what the ring gave up already, but is still there when the file system is asked.
Result<> FileSet::make_room(std::uint64_t expected, std::uint64_t freed, Next& out) {
    if (options_.disk_limit_bytes != 0 && expected > options_.disk_limit_bytes)
        return fail(EINVAL, "one file of {} bytes is more than the disk limit of {} bytes",
                    expected, options_.disk_limit_bytes);
    const std::uint64_t estimate = expected != 0 ? expected : bytes_last_;
    for (;;) {
        SLUICE_TRY(const std::uint64_t too_many, excess(estimate, freed));
        if (too_many == 0) return {};
        if (const std::size_t i = oldest(); i < files_.size()) {
            freed += retire(i, out);
            continue;
        }
        // A file whose length nobody knows is given the chance to be short.
        SLUICE_TRY(const std::uint64_t without_it, excess(expected, freed));
        if (without_it == 0 || options_.disk_limit_percent == 0) return {};
        return fail(ENOSPC, "the file system of \"{}\" would be {} bytes above the disk limit of "
                    "{} %, and no older file of this capture is left to remove",
                    folder_to_open(pattern_.folder()), without_it, options_.disk_limit_percent);
    }
}

// By how many bytes the limits would be exceeded with a file of `expected` bytes more.
Result<std::uint64_t> FileSet::excess(std::uint64_t expected, std::uint64_t freed) const {
    const auto above = [](std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; };
    std::uint64_t most = 0;
    if (options_.disk_limit_bytes != 0)
        most = above(bytes() + expected, options_.disk_limit_bytes);
    if (options_.disk_limit_percent != 0) {
        SLUICE_TRY(const Usage usage, usage_of(pattern_.folder()));
        const std::uint64_t limit = usage.total / 100 * options_.disk_limit_percent;
        most = std::max(most, above(above(usage.used, freed) + expected, limit));
    }
    return most;
}

void FileSet::closed(const std::string& path, std::uint64_t bytes) {
    bytes_last_ = bytes;
    const std::size_t i = find_path(path);
    if (i == files_.size()) return;
    files_[i].bytes = bytes;
    files_[i].open = false;
}

std::vector<std::string> FileSet::trim() {
    std::vector<std::string> out;
    while (options_.files != 0 && files_.size() > options_.files && oldest() < files_.size()) {
        const std::size_t i = oldest();
        out.push_back(path_of(files_[i].name));
        files_.erase(files_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return out;
}

void FileSet::forget(const std::string& path) {
    const std::size_t i = find_path(path);
    if (i < files_.size()) files_.erase(files_.begin() + static_cast<std::ptrdiff_t>(i));
}

Result<bool> FileSet::apply(const Next& next) {
    for (const std::string& path : next.remove)
        if (::unlink(path.c_str()) != 0 && errno != ENOENT)
            return fail(errno, "cannot remove the old capture file \"{}\": {}", path,
                        std::strerror(errno));
    if (next.recycle.empty()) return false;
    if (::rename(next.recycle.c_str(), next.path.c_str()) == 0) return true;
    if (errno == ENOENT) return false;
    return fail(errno, "cannot rename the old capture file \"{}\" to \"{}\": {}", next.recycle,
                next.path, std::strerror(errno));
}

std::uint64_t FileSet::bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const File& f : files_) sum += f.bytes;
    return sum;
}

std::string FileSet::path_of(std::string_view name) const {
    return pattern_.folder() + std::string(name);
}

// Rotating, no file of this set is overwritten unless it is the oldest one of a ring.
std::string FileSet::unused_name(std::int64_t wall_ns) const {
    std::string name = pattern_.name(wall_ns, count_);
    if (!options_.rotates || pattern_.has_count()) return name;
    for (std::uint64_t again = 2; find(name) < files_.size(); ++again)
        name = pattern_.name(wall_ns, count_, again);
    return name;
}

std::size_t FileSet::find(std::string_view name) const {
    const auto i = std::find_if(files_.begin(), files_.end(),
                                [name](const File& f) { return f.name == name; });
    return static_cast<std::size_t>(i - files_.begin());
}

std::size_t FileSet::find_path(std::string_view path) const {
    if (!path.starts_with(pattern_.folder())) return files_.size();
    return find(path.substr(pattern_.folder().size()));
}

std::size_t FileSet::oldest() const {
    const auto i =
        std::find_if(files_.begin(), files_.end(), [](const File& f) { return !f.open; });
    return static_cast<std::size_t>(i - files_.begin());
}

// Returns what that gives back.
std::uint64_t FileSet::retire(std::size_t index, Next& out) {
    const std::string path = path_of(files_[index].name);
    const std::uint64_t bytes = files_[index].bytes;
    files_.erase(files_.begin() + static_cast<std::ptrdiff_t>(index));
    if (out.recycle.empty())
        out.recycle = path;
    else
        out.remove.push_back(path);
    remove_sidecar_of(path, out);
    return bytes;
}

// A run that died left it: it must not speak about another run's file.
void FileSet::remove_sidecar_of(const std::string& path, Next& out) {
    const std::string sidecar = Sidecar::path_of(path);
    const bool known = std::find(out.remove.begin(), out.remove.end(), sidecar) != out.remove.end();
    if (!known && ::access(sidecar.c_str(), F_OK) == 0) out.remove.push_back(sidecar);
}

}  // namespace sluice::pcap
