#include <catch2/catch.hpp>
#include <limits>

#include "base/rng.hpp"
#include "normal_dif/core/mgmt/flow_policies.hpp"
#include "normal_dif/core/mgmt/flow_policies_consent.hpp"

using namespace sluice;
using namespace sluice::mgmt;
using rina::FlowRequest;
using rina::QosId;

namespace {

FlowRequest wire(const FlowSpec& spec, const FlowPolicyConfig& config = {}) {
    FlowRequest request;
    put(terms_for(spec, config), request);
    return request;
}
Result<FlowTerms> read(const FlowRequest& request) {
    return terms_of(request, FlowPolicyConfig{}, rina::kDefaultFormat);
}
FlowSpec gap(std::int64_t sdus) {
    FlowSpec spec;
    spec.max_sdu_gap = sdus;
    return spec;
}

}  // namespace

TEST_CASE("a default flow says what rlite says") {
    const FlowRequest request = wire({});
    CHECK(request.qos.sdu_gap_max == -1);
    CHECK_FALSE(request.qos.in_order_delivery);
    CHECK_FALSE(request.qos.partial_delivery);
    CHECK(request.policies == rina::ConnPolicies{});
}

TEST_CASE("a reliable flow says what rlite says") {
    const FlowRequest request = wire(gap(0));
    CHECK(request.qos.in_order_delivery);
    CHECK(request.policies.dtcp_present);
    CHECK(request.policies.initial_a_timer_ms == 20);
    const rina::DtcpConfig& dtcp = request.policies.dtcp;
    CHECK(dtcp.flow_control);
    REQUIRE(dtcp.flow.window);
    CHECK(dtcp.flow.window->initial_credit == 512);
    CHECK(dtcp.flow.window->closed_window_queue_max == 128);
    CHECK(dtcp.retransmission_control);
    CHECK(dtcp.retransmission.time_to_retry_max == 15);
    CHECK(dtcp.retransmission.data_rxmsn_max == 10);
    CHECK(dtcp.retransmission.initial_timeout_ms == 1000);
    efcp::EfcpPolicies expected = efcp::EfcpPolicies::rlite_reliable();
    expected.mpl = FlowPolicyConfig{}.mpl;
    CHECK(terms_for(gap(0), {}).policies == expected);
}

TEST_CASE("flow control by force, and a bandwidth") {
    FlowPolicyConfig config;
    config.force_flow_control = true;
    config.window.initial_credit = 16;
    const FlowRequest forced = wire({}, config);
    CHECK(forced.policies.dtcp_present);
    CHECK(forced.policies.dtcp.flow.window->initial_credit == 16);
    CHECK_FALSE(forced.policies.dtcp.retransmission_control);
    CHECK(forced.policies.initial_a_timer_ms == 20);
    FlowSpec spec;
    spec.avg_bandwidth_bps = 5'000'000;
    const FlowRequest shaped = wire(spec);
    CHECK(shaped.qos.average_bandwidth_bps == 5'000'000);
    CHECK(shaped.policies.dtcp_present);
    CHECK_FALSE(shaped.policies.dtcp.flow_control);
    CHECK(shaped.policies.initial_a_timer_ms == 0);
}

TEST_CASE("what is written is read as it was") {
    for (const bool force : {false, true})
        for (const std::int64_t sdus : {-1, 0, 1, 1000})
            for (const std::uint64_t bandwidth : {0u, 1u, 4'000'000u})
                for (const bool order : {false, true}) {
                    FlowPolicyConfig config;
                    config.force_flow_control = force;
                    FlowSpec spec = gap(sdus);
                    spec.avg_bandwidth_bps = bandwidth;
                    spec.in_order = order;
                    spec.msg_boundaries = !order;
                    const FlowTerms terms = terms_for(spec, config);
                    FlowRequest request;
                    put(terms, request);
                    const auto again = terms_of(request, config, rina::kDefaultFormat);
                    REQUIRE(again);
                    CHECK(*again == terms);
                    FlowSpec heard = spec_of(request);
                    heard.in_order = spec.in_order;  // reliable flows are in order anyway
                    CHECK(heard == spec);
                }
    FlowTerms rate;
    rate.policies.dtcp_present = true;
    rate.policies.rate = efcp::RatePolicy{100, Duration::microseconds(1500)};
    rate.policies.mpl = FlowPolicyConfig{}.mpl;
    FlowRequest request;
    put(rate, request);
    REQUIRE(read(request));
    CHECK(*read(request) == rate);
}

TEST_CASE("a gap wider than the field is as good as the widest") {
    CHECK(wire(gap(std::numeric_limits<std::int64_t>::max())).qos.sdu_gap_max ==
          std::numeric_limits<std::int32_t>::max());
}

TEST_CASE("policies that this end cannot do are not taken for others") {
    const auto refused = [](auto&& change) {
        FlowRequest request = wire(gap(0));
        change(request.policies);
        const auto terms = read(request);
        return !terms && terms.error().code == ENOTSUP;
    };
    CHECK_FALSE(refused([](auto&) {}));
    CHECK(refused([](auto& p) { p.dtcp.flow.window->initial_credit = 0; }));
    CHECK(refused([](auto& p) { p.dtcp.flow.window->initial_credit = 1ull << 32 | 512; }));
    CHECK(refused([](auto& p) { p.dtcp.flow.window->closed_window_queue_max = 1ull << 32; }));
    CHECK(refused([](auto& p) { p.dtcp.flow.window.reset(); }));
    CHECK(refused([](auto& p) { p.dtcp.flow.window_based = false; }));
    CHECK(refused([](auto& p) { p.dtcp.retransmission.data_rxmsn_max = 0; }));
    CHECK(refused([](auto& p) { p.dtcp.retransmission.initial_timeout_ms = 0; }));
    CHECK(refused([](auto& p) { p.dtcp.retransmission.time_to_retry_max = ~0u; }));
    CHECK(refused([](auto& p) { p.initial_a_timer_ms = ~0u; }));
    CHECK(refused([](auto& p) { p.dtcp_present = false; }));
    CHECK(refused([](auto& p) {
        p.dtcp.flow.window_based = false;
        p.dtcp.flow.rate_based = true;
        p.dtcp.flow.rate = rina::RateCfg{};
        p.dtcp.flow.rate->sender_rate = 5;
        p.dtcp.flow.rate->period_us = ~0ull;
    }));
    FlowRequest request = wire({});
    request.qos.sdu_gap_max = -2;
    CHECK_FALSE(read(request));
    CHECK(spec_of(request).max_sdu_gap == -1);
}

TEST_CASE("flow specs out of bounds are an error") {
    CHECK(check(FlowSpec{}));
    CHECK_FALSE(check(gap(-2)));
    FlowSpec spec;
    spec.max_loss = 10001;
    CHECK_FALSE(check(spec));
}

namespace {
Offer some_offer() {
    Offer offer;
    offer.features = Features::all();
    offer.credit = 4096;
    offer.qos = QosId{7};
    offer.nonce = 0x1122334455667788;
    offer.delay_us = 10;
    offer.jitter_us = 20;
    offer.max_loss = 30;
    return offer;
}
efcp::EfcpPolicies reliable() { return efcp::EfcpPolicies::rlite_reliable(); }
}  // namespace

TEST_CASE("offers survive the wire, and what is none is none") {
    rina::Bytes bytes = encode(some_offer());
    CHECK(bytes.size() == 36);
    CHECK(offer_in(bytes) == some_offer());
    for (std::size_t n = 0; n < bytes.size(); ++n)
        CHECK_FALSE(offer_in(rina::Bytes(bytes.begin(), bytes.begin() + static_cast<long>(n))));
    rina::Bytes longer = bytes;
    longer.resize(100);
    CHECK(offer_in(longer) == some_offer());
    rina::Bytes other = bytes;
    other[3] = std::byte{'A'};
    CHECK_FALSE(offer_in(other));
    Offer without = some_offer();
    without.nonce = 0;
    CHECK_FALSE(offer_in(encode(without)));
    CHECK_FALSE(offer_in({}));
}

TEST_CASE("consent is computed, never an echo") {
    const Offer offer = some_offer();
    const Answer answer = agree(offer, ExtensionConfig{}, reliable(), true);
    const rina::Bytes good = encode(answer, offer, 5, 6);
    CHECK(answer_in(good, offer, 5, 6).consent == Consent::given);
    CHECK(answer_in(good, offer, 5, 6).answer == answer);
    CHECK(answer_in(encode(offer), offer, 5, 6).consent == Consent::none);
    CHECK(answer_in({}, offer, 5, 6).consent == Consent::none);
    CHECK(answer_in(good, offer, 5, 7).consent == Consent::invalid);
    CHECK(answer_in(good, offer, 4, 6).consent == Consent::invalid);
    Offer another = offer;
    ++another.nonce;
    CHECK(answer_in(good, another, 5, 6).consent == Consent::invalid);
    // One changed bit of what was agreed on is found out.
    for (const std::size_t at : {6u, 8u, 12u, 16u, 23u}) {
        rina::Bytes changed = good;
        changed[at] ^= std::byte{1};
        CHECK(answer_in(changed, offer, 5, 6).consent == Consent::invalid);
    }
    Answer more = answer;
    more.credit = offer.credit + 1;
    CHECK(answer_in(encode(more, offer, 5, 6), offer, 5, 6).consent == Consent::invalid);
    more = answer;
    more.qos = QosId{8};
    CHECK(answer_in(encode(more, offer, 5, 6), offer, 5, 6).consent == Consent::invalid);
    Offer less = offer;
    less.features = Features{}.with(Feature::sack);
    CHECK(answer_in(encode(answer, less, 5, 6), less, 5, 6).consent == Consent::invalid);
}

TEST_CASE("no more is agreed on than both want and the connection bears") {
    ExtensionConfig own;
    own.features = Features::all().without(Feature::delimiting);
    own.credit = 1000;
    Answer answer = agree(some_offer(), own, reliable(), false);
    CHECK(answer.features == own.features);
    CHECK(answer.credit == 1000);
    CHECK(answer.qos == QosId{0});
    const efcp::EfcpPolicies agreed = with(reliable(), answer);
    CHECK(agreed.dialect == efcp::Dialect::sluice);
    CHECK(agreed.sack);
    CHECK(agreed.large_windows);
    CHECK_FALSE(agreed.delimiting);
    CHECK(agreed.ecn);
    CHECK(agreed.congestion == efcp::Congestion::rate_estimate);
    CHECK(agreed.window->initial_credit == 1000);
    CHECK(efcp::check(agreed, rina::kDefaultFormat));

    answer = agree(some_offer(), ExtensionConfig{}, efcp::EfcpPolicies::best_effort(), true);
    CHECK(answer == Answer{Features{}, 0, QosId{7}});
    CHECK(efcp::check(with(efcp::EfcpPolicies::best_effort(), answer), rina::kDefaultFormat));

    Offer nothing = some_offer();
    nothing.credit = 0;
    answer = agree(nothing, ExtensionConfig{}, reliable(), true);
    CHECK_FALSE(answer.features.has(Feature::large_windows));
    CHECK(with(reliable(), answer).window->initial_credit == 512);
}

TEST_CASE("whatever is offered, what comes of it can be done") {
    Rng rng(3);
    for (int i = 0; i < 2000; ++i) {
        Offer offer = some_offer();
        offer.features = Features(static_cast<std::uint16_t>(rng.next()));
        offer.credit = static_cast<std::uint32_t>(rng.next() >> rng.below(64));
        FlowSpec spec = gap(static_cast<std::int64_t>(rng.below(3)) - 1);
        spec.in_order = rng.chance(0.5);
        FlowPolicyConfig config;
        config.force_flow_control = rng.chance(0.5);
        const FlowTerms terms = terms_for(spec, config);
        ExtensionConfig own;
        own.credit = static_cast<std::uint32_t>(rng.next() >> rng.below(64));
        const Answer answer = agree(offer, own, terms.policies, rng.chance(0.5));
        const auto good = efcp::check(with(terms.policies, answer), rina::kDefaultFormat);
        INFO((good ? "" : good.error().message));
        CHECK(good);
        CHECK(answer_in(encode(answer, offer, 1, 2), offer, 1, 2).consent == Consent::given);
    }
}
