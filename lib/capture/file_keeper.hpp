#pragma once

#include <pthread.h>
#include <semaphore.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/result.hpp"
#include "capture/pointer_ring.hpp"
#include "pcap_writer/file_set.hpp"
#include "pcap_writer/sidecar.hpp"

namespace sluice::capture {

// A file that blocks go to. While a job is done it is the keeper's; before and after, the writer's.
struct CaptureFile {
    enum class Job : std::uint8_t { none, open, allocate, close };

    std::string path;
    int fd = -1;
    bool stream = false;
    bool direct = false;          // to be opened with O_DIRECT
    std::optional<pcap::Sidecar> sidecar;
    std::uint64_t offset = 0;     // where the next block goes
    std::uint64_t allocated = 0;  // how far the file has blocks on the disk, as far as asked for
    std::uint64_t safe = 0;       // bytes of whole records that are written without a gap
    std::uint64_t records = 0;
    bool failed = false;
    bool ended = false;           // has its last block
    std::uint64_t length = 0;     // then
    unsigned writing = 0;

    Job job = Job::none;
    std::int64_t wall_ns = 0;     // open: when
    std::uint64_t wanted = 0;     // allocate: at least so far
    std::uint64_t reached = 0;    // and how far it came, to be `allocated` from then on
    int code = 0;                 // errno of a job that failed, and all of it in words
    std::string error;
};

// Opens, extends and closes the files of a capture, in the order in which it is asked to. These
// may take milliseconds, as long as a file system's journal pleases: for a writer on a polling
// lcore a thread does it. Only failed jobs allocate on the writer's side.
class FileKeeper {
  public:
    struct Options {
        std::optional<pcap::FileSet> files;
        pcap::FileFormat format = pcap::FileFormat::pcap;
        std::uint32_t block_bytes = 0;
        bool sidecars = true;
        bool group_readable = false;
        std::uint64_t preallocate = 0;  // bytes at a time; 0: files grow as they are written
        std::uint64_t file_bytes = 0;   // at which the recorder begins another; 0: not known
    };
    // At most `jobs` are asked for at a time.
    static Result<std::unique_ptr<FileKeeper>> create(Options options, unsigned jobs);
    ~FileKeeper();
    FileKeeper(const FileKeeper&) = delete;
    FileKeeper& operator=(const FileKeeper&) = delete;

    // ---- control thread, while the writer rests ----
    // From here on a thread does the jobs, on the CPUs of the main lcore.
    Result<> start_thread();
    // Once all jobs have been done; from here on ask() does them.
    void stop_thread() noexcept;

    // ---- the writer ----
    bool threaded() const noexcept { return threaded_; }
    void ask(CaptureFile& file, CaptureFile::Job job) noexcept;
    // The next whose job has been done, with or without success.
    CaptureFile* done() noexcept;
    bool preallocates() const noexcept {
        return preallocate_.load(std::memory_order_relaxed) != 0;
    }
    // Whether a file should be extended before `end` bytes are written.
    bool wants_more(const CaptureFile& file, std::uint64_t end) const noexcept;

    // Any thread: the path of the file that was opened last.
    std::string path() const;
    void set_path(const std::string& path);

  private:
    FileKeeper(Options options) : options_(std::move(options)) {}
    void run() noexcept;
    void work(CaptureFile& file) noexcept;
    Result<> open(CaptureFile& file);
    Result<> prepare(CaptureFile& file, const pcap::FileSet::Next& next);
    void allocate(CaptureFile& file) noexcept;
    Result<> close(CaptureFile& file) noexcept;

    Options options_;
    std::atomic<std::uint64_t> preallocate_{0};
    std::set<std::string> kept_;  // files that failed and hold packets
    PointerRing<CaptureFile> asked_;
    PointerRing<CaptureFile> done_;
    pthread_t thread_{};
    sem_t wake_{};
    bool threaded_ = false;
    std::atomic<bool> stop_{false};
    mutable std::mutex mutex_;
    std::string path_;
};

}  // namespace sluice::capture
