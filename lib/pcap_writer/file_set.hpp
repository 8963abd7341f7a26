#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "pcap_writer/name_pattern.hpp"

namespace sluice::pcap {

// When a capture goes on to its next file, and how many it keeps; 0: no limit.
struct RotationLimits {
    std::uint64_t bytes = 0;
    Duration duration{};
    std::uint64_t packets = 0;
    std::uint32_t files = 0;  // in the ring; the oldest one makes room for the next

    bool rotates() const noexcept {
        return bytes != 0 || duration > Duration{} || packets != 0;
    }
};

// Names the files of one lane's capture, one after the other, and says which old ones go. Files
// that an earlier run left under the same pattern belong to the set; a file of any other name is
// never touched. The files themselves are handled by the caller, or by apply().
class FileSet {
  public:
    struct Options {
        // A path. In its last part: the conversions of strftime (local time), and %{port},
        // %{queue} and %{count}. If it rotates and all names would be the same, the count and
        // the time are put before the extension, as dumpcap does.
        std::string pattern{};
        std::string port{};
        unsigned queue = 0;
        bool rotates = false;
        std::uint32_t files = 0;             // ring size, 0: none
        std::uint64_t disk_limit_bytes = 0;  // of all files of the set together, 0: none
        unsigned disk_limit_percent = 0;     // of the file system that is in use, 0: none
    };

    struct Next {
        std::string path;
        // The old file that is to be renamed to `path` and overwritten: writing into blocks that
        // exist is much faster. Empty: create the file.
        std::string recycle;
        // Old files, and sidecars that runs which died left; may be gone already.
        std::vector<std::string> remove;
    };

    // Looks for files of earlier runs. The folder must exist.
    static Result<FileSet> create(const Options& options);
    // Lanes that would write to the same names are refused.
    static Result<> check_distinct(std::span<const Options> lanes);

    // `file_bytes_expected`: how long the file will be, 0 if nobody knows (then it is taken to be
    // as long as the previous one). The file counts as open until closed().
    Result<Next> next(std::int64_t wall_ns, std::uint64_t file_bytes_expected);
    void closed(const std::string& path, std::uint64_t bytes);
    // Files that are too many for the ring by now, to be removed; they are no longer of the set.
    std::vector<std::string> trim();
    // It could not be created, or was taken away.
    void forget(const std::string& path);

    // Removes and renames what `next` says; the file's Sidecar is to be created after that. True:
    // the recycled file is at next.path now; false: there was none, or it had vanished, and the
    // file is to be created.
    static Result<bool> apply(const Next& next);

    std::size_t size() const noexcept { return files_.size(); }
    std::uint64_t bytes() const noexcept;        // of all files, open ones as expected
    std::uint64_t count() const noexcept { return count_; }  // %{count} of the last file

  private:
    struct File {
        std::string name;  // without the folder
        std::uint64_t count = 0;
        std::int64_t mtime_ns = 0;
        std::uint64_t bytes = 0;
        bool open = false;
    };

    FileSet(Options options, NamePattern pattern)
        : options_(std::move(options)), pattern_(std::move(pattern)) {}
    Result<> scan();
    Result<> make_room(std::uint64_t expected, std::uint64_t freed, Next& out);
    Result<std::uint64_t> excess(std::uint64_t expected, std::uint64_t freed) const;
    std::string path_of(std::string_view name) const;
    std::string unused_name(std::int64_t wall_ns) const;
    std::size_t find(std::string_view name) const;
    std::size_t find_path(std::string_view path) const;
    // The oldest file that nobody writes; files_.size() if there is none.
    std::size_t oldest() const;
    std::uint64_t retire(std::size_t index, Next& out);
    static void remove_sidecar_of(const std::string& path, Next& out);

    Options options_;
    NamePattern pattern_;
    std::vector<File> files_;  // the oldest first
    std::uint64_t count_ = 0;
    std::uint64_t bytes_last_ = 0;
};

}  // namespace sluice::pcap
