#include <catch2/catch.hpp>

#include "normal_dif/core/efcp/connection.hpp"

// The first PDU of a run, sent again and overtaking itself.
namespace sluice::efcp {
namespace {

constexpr rina::Address kUs{1}, kThem{2};
const Instant kNow{1'000'000'000};

struct End {
    explicit End(const EfcpPolicies& policies)
        : connection({kUs, kThem, rina::CepId{5}, rina::CepId{6}, rina::QosId{0}}, policies,
                     rina::kDefaultFormat) {}
    void arrive(std::uint64_t sequence, bool is_flagged) {
        out.clear();
        RxItem item;
        item.token = PduToken{++tokens};
        item.pci.source = kThem;
        item.pci.destination = kUs;
        item.pci.source_cep = rina::CepId{6};
        item.pci.destination_cep = rina::CepId{5};
        item.pci.sequence = sequence;
        item.pci.flags = is_flagged ? rina::pci_flag::kDrf : 0;
        item.pci.length = 38;
        REQUIRE(connection.on_burst(kNow, {&item, 1}, out) == 1);
    }

    Connection connection;
    Outbox out;
    std::uintptr_t tokens = 0;
};

TEST_CASE("A flagged PDU behind its unflagged repetition is a duplicate", "[efcp]") {
    End end(EfcpPolicies::rlite_reliable());
    end.arrive(0, false);
    CHECK(end.out.deliver.size() == 1);
    end.arrive(0, true);
    CHECK(end.out.deliver.empty());
    REQUIRE(end.out.drop.size() == 1);
    CHECK(end.out.drop[0].reason == DropReason::efcp_duplicate);
    // And the run goes on where it was.
    end.arrive(1, false);
    REQUIRE(end.out.deliver.size() == 1);
    CHECK(end.out.deliver[0].sequence == 1);
}

TEST_CASE("What waits for the first PDU is delivered once, whichever copy comes", "[efcp]") {
    End end(EfcpPolicies::rlite_reliable());
    end.arrive(1, false);
    CHECK(end.out.deliver.empty());
    const bool flagged_first = GENERATE(true, false);
    end.arrive(0, flagged_first);
    CHECK(end.out.deliver.size() == 2);
    end.arrive(0, !flagged_first);
    CHECK(end.out.deliver.empty());
    CHECK(end.connection.receiver().next() == 2);
}

}  // namespace
}  // namespace sluice::efcp
