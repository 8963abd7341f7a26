#pragma once

#include <rte_mbuf.h>

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/lcore_loop.hpp"
#include "dataplane/stage.hpp"
#include "pcap_writer/pcap_reader.hpp"

namespace sluice::capture::test {

// A pool that must be full again at the end.
class Pool {
  public:
    explicit Pool(unsigned count = 255) : count_(count) {
        static int serial = 0;
        pool_ = rte_pktmbuf_pool_create(("test" + std::to_string(serial++)).c_str(), count, 0, 0,
                                        2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
        REQUIRE(pool_ != nullptr);
    }
    ~Pool() {
        CHECK(rte_mempool_avail_count(pool_) == count_);
        rte_mempool_free(pool_);
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    unsigned available() const { return rte_mempool_avail_count(pool_); }

    // Bytes count up from `first`; segments of at most `segment` bytes.
    rte_mbuf* packet(unsigned length, std::uint8_t first = 0, std::uint16_t segment = 2048) {
        rte_mbuf* head = one();
        rte_mbuf* last = head;
        for (unsigned at = 0; at < length;) {
            const auto n = static_cast<std::uint16_t>(std::min<unsigned>(segment, length - at));
            if (at != 0) {
                last->next = one();
                last = last->next;
                ++head->nb_segs;
            }
            auto* data = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(last, n));
            for (unsigned i = 0; i < n; ++i) data[i] = static_cast<std::uint8_t>(first + at + i);
            at += n;
        }
        head->pkt_len = length;
        return head;
    }

  private:
    rte_mbuf* one() {
        rte_mbuf* m = rte_pktmbuf_alloc(pool_);
        REQUIRE(m != nullptr);
        return m;
    }
    unsigned count_;
    rte_mempool* pool_;
};

struct FreeMbuf {
    void operator()(rte_mbuf* m) const noexcept { rte_pktmbuf_free(m); }
};
using Packet = std::unique_ptr<rte_mbuf, FreeMbuf>;

struct TempDir {
    std::string path = (std::filesystem::temp_directory_path() / "sluice-capture-XXXXXX").string();
    TempDir() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
    ~TempDir() { std::filesystem::remove_all(path); }
    std::string file(const char* name) const { return path + "/" + name; }
};

}  // namespace sluice::capture::test
