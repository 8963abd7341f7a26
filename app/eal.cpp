#include "app/eal.hpp"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <initializer_list>

#include "base/log.hpp"

namespace sluice::app {
namespace {

bool has(const std::vector<std::string>& arguments, std::initializer_list<const char*> options) {
    return std::any_of(arguments.begin(), arguments.end(), [&](const std::string& a) {
        return std::any_of(options.begin(), options.end(), [&](std::string_view o) {
            return a == o || (a.starts_with(o) && (a[o.size()] == '=' || o.size() == 2));
        });
    });
}

bool hugepages_free() {
    std::error_code ignored;
    for (const auto& size :
         std::filesystem::directory_iterator("/sys/kernel/mm/hugepages", ignored)) {
        std::uint64_t count = 0;
        std::ifstream(size.path() / "free_hugepages") >> count;
        if (count != 0) return true;
    }
    return false;
}

// DPDK's lines and ours leave by the same door.
int log_type = RTE_LOGTYPE_USER1;

void to_rte_log(log::Level level, std::string_view scope, std::string_view text) {
    static constexpr std::uint32_t kLevels[] = {RTE_LOG_ERR, RTE_LOG_WARNING, RTE_LOG_NOTICE,
                                                RTE_LOG_DEBUG};
    const std::string_view name = log::to_string(level);
    rte_log(kLevels[static_cast<unsigned>(level)], static_cast<std::uint32_t>(log_type),
            "%.*s %.*s: %.*s\n", static_cast<int>(name.size()), name.data(),
            static_cast<int>(scope.size()), scope.data(), static_cast<int>(text.size()),
            text.data());
}

}  // namespace

void complete_eal_arguments(const std::string& role, std::vector<std::string>& arguments) {
    const bool ask_huge = !has(arguments, {"--no-huge", "--in-memory", "--huge-dir"});
    if (ask_huge && !hugepages_free()) {
        arguments.emplace_back("--no-huge");
        log::warn("eal", "no hugepages are free: using ordinary memory, which is slower "
                  "(scripts/setup-hugepages reserves some)");
    } else if (ask_huge && !has(arguments, {"--file-prefix", "--proc-type"})) {
        arguments.emplace_back("--in-memory");
    }
    if (has(arguments, {"--no-huge"})) {
        if (!has(arguments, {"-m", "--socket-mem"})) {
            arguments.emplace_back("-m");
            arguments.emplace_back("512");
        }
    } else if (!has(arguments, {"--single-file-segments", "--huge-unlink", "--legacy-mem"})) {
        arguments.emplace_back("--single-file-segments");
    }
    if (!has(arguments, {"--file-prefix", "--in-memory"}))
        arguments.push_back(fmt::format("--file-prefix=sluice-{}-{}", role, getpid()));
    if (!has(arguments, {"--log-level"})) {
        arguments.emplace_back("--log-level=lib.eal:notice");
        arguments.emplace_back("--log-level=lib.vhost.config:error");
        arguments.emplace_back("--log-level=pmd.net.vhost:error");
    }
}

Result<Eal> Eal::start(const std::string& role, const std::vector<std::string>& arguments) {
    std::vector<std::string> words{"sluice-" + role};
    words.insert(words.end(), arguments.begin(), arguments.end());
    // EAL keeps the pointers.
    static std::vector<std::string> kept;
    kept = std::move(words);
    std::vector<char*> argv;
    for (std::string& word : kept) argv.push_back(word.data());
    argv.push_back(nullptr);
    if (rte_eal_init(static_cast<int>(kept.size()), argv.data()) < 0) {
        std::string all;
        for (const std::string& word : arguments) all += " " + word;
        return fail(rte_errno, "EAL cannot start with{} ({}); its own lines are above", all,
                    rte_strerror(rte_errno));
    }
    const int type = rte_log_register_type_and_pick_level("sluice", RTE_LOG_INFO);
    if (type >= 0) log_type = type;
    rte_log_set_level(static_cast<std::uint32_t>(log_type), RTE_LOG_DEBUG);
    log::set_sink(&to_rte_log);
    // EAL leaves an empty runtime directory behind; one that is named after us is nobody else's.
    const std::filesystem::path dir = rte_eal_get_runtime_dir();
    const bool ours = dir.filename().string().starts_with(fmt::format("sluice-{}-", role));
    return Eal(ours ? dir.string() : "");
}

Eal::Eal(Eal&& other) noexcept : runtime_dir_(std::move(other.runtime_dir_)), up_(other.up_) {
    other.up_ = false;
}

Eal::~Eal() {
    if (!up_) return;
    log::set_sink(nullptr);
    rte_eal_cleanup();
    std::error_code ignored;
    if (!runtime_dir_.empty()) std::filesystem::remove_all(runtime_dir_, ignored);
}

}  // namespace sluice::app
