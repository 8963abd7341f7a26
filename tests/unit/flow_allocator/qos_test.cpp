#include <catch2/catch.hpp>

#include "normal_dif/core/mgmt/admission.hpp"
#include "normal_dif/core/mgmt/qos_cubes.hpp"

using namespace sluice;
using namespace sluice::mgmt;
using rina::QosId;

namespace {

QosCube cube(std::string name, std::uint16_t id) {
    QosCube made;
    made.name = std::move(name);
    made.id = QosId{id};
    return made;
}

// Cheap ones first.
std::vector<QosCube> some_cubes() {
    std::vector<QosCube> cubes{cube("bulk", 0), cube("voice", 1), cube("files", 2)};
    cubes[1].delay_us = 10'000;
    cubes[1].jitter_us = 2'000;
    cubes[1].loss = 100;
    cubes[1].bandwidth_bps_max = 1'000'000;
    cubes[2].sdu_gap_max = 0;
    cubes[2].in_order = true;
    cubes[2].bandwidth_bps_min = 1;
    return cubes;
}

std::string chosen(const FlowSpec& spec) {
    const QosCubes cubes = *QosCubes::make(some_cubes(), rina::kDefaultFormat);
    const QosCube* const found = cubes.choose(spec);
    return found == nullptr ? "none" : found->name;
}

std::string refusal(std::vector<QosCube> cubes, rina::PciFormat format = rina::kDefaultFormat) {
    const auto made = QosCubes::make(std::move(cubes), format);
    return made ? "made" : made.error().message;
}

}  // namespace

TEST_CASE("the first cube that promises what a flow asks for") {
    FlowSpec spec;
    CHECK(chosen(spec) == "bulk");
    spec.delay_us = 10'000;
    CHECK(chosen(spec) == "voice");
    spec.delay_us = 9'999;
    CHECK(chosen(spec) == "none");
    spec = {};
    spec.jitter_us = 2'000;
    CHECK(chosen(spec) == "voice");
    spec.jitter_us = 1'999;
    CHECK(chosen(spec) == "none");
    spec = {};
    spec.max_loss = 100;
    CHECK(chosen(spec) == "voice");
    spec.avg_bandwidth_bps = 1'000'001;
    // The loss counts for nothing where retransmission is: "files" makes every flow reliable.
    CHECK(chosen(spec) == "files");
    spec.avg_bandwidth_bps = 0;
    spec.max_loss = 99;
    CHECK(chosen(spec) == "none");
    spec.max_sdu_gap = 0;
    CHECK(chosen(spec) == "bulk");
}

TEST_CASE("what a cube makes of a flow is no worse than what was asked for") {
    QosCube gaps = cube("gaps", 5);
    gaps.sdu_gap_max = 3;
    gaps.in_order = false;
    FlowSpec spec;
    CHECK(serves(gaps, spec));
    CHECK(within(gaps, spec).max_sdu_gap == 3);
    spec.max_sdu_gap = 3;
    CHECK(serves(gaps, spec));
    spec.max_sdu_gap = 2;
    CHECK_FALSE(serves(gaps, spec));
    gaps.sdu_gap_max = -1;
    CHECK_FALSE(serves(gaps, spec));
    spec = {};
    spec.in_order = true;
    CHECK_FALSE(serves(gaps, spec));
    gaps.in_order = true;
    CHECK(serves(gaps, spec));
    spec.in_order = false;
    CHECK(within(gaps, spec).in_order);
}

TEST_CASE("cubes that make no sense are refused") {
    CHECK(refusal({}).find("there is none") != std::string::npos);
    CHECK(refusal({cube("a", 1), cube("b", 1)}).find("same id or name") != std::string::npos);
    CHECK(refusal({cube("a", 1), cube("a", 2)}).find("same id or name") != std::string::npos);
    CHECK(refusal({cube("", 1)}).find("expected a name") != std::string::npos);
    rina::PciFormat narrow;
    narrow.qos = 1;
    CHECK(refusal({cube("a", 256)}, narrow).find("at most 255") != std::string::npos);
    CHECK(refusal({cube("a", 255)}, narrow) == "made");
    QosCube bad = cube("a", 1);
    bad.loss = 10001;
    CHECK(refusal({bad}).find("loss") != std::string::npos);
    bad = cube("a", 1);
    bad.bandwidth_bps_min = 2;
    bad.bandwidth_bps_max = 1;
    CHECK(refusal({bad}).find("smaller") != std::string::npos);
    bad = cube("a", 1);
    bad.sdu_gap_max = -2;
    CHECK(refusal({bad}).find("gap") != std::string::npos);
    bad.sdu_gap_max = 0;
    bad.in_order = false;
    CHECK(refusal({bad}).find("order") != std::string::npos);
}

TEST_CASE("without cubes there is one for everybody") {
    const QosCubes cubes;
    FlowSpec spec;
    REQUIRE(cubes.choose(spec) != nullptr);
    CHECK(cubes.choose(spec)->id == QosId{0});
    CHECK(cubes.find(QosId{0}) == &cubes.first());
    CHECK(cubes.find(QosId{1}) == nullptr);
    spec.delay_us = 1;
    CHECK(cubes.choose(spec) == nullptr);
}

namespace {
AnyAdmission made(std::string_view name, std::vector<policy::Param> params) {
    return *make_admission(name, params);
}
std::string admission_error(std::string_view name, std::vector<policy::Param> params) {
    const auto result = make_admission(name, params);
    return result ? "made" : result.error().message;
}
}  // namespace

TEST_CASE("admission by a cube's bandwidth") {
    AnyAdmission policy = made("bandwidth", {{"cube.1", "10M"}, {"unasked", "1M"}});
    const AdmissionRequest big{QosId{1}, 8'000'000, "u"}, small{QosId{1}, 2'000'001, "u"},
        none{QosId{1}, 0, "u"}, free{QosId{2}, ~std::uint64_t{0}, "u"};
    CHECK(admit(policy, big));
    CHECK(admit(policy, small).error().code == EAGAIN);
    CHECK(admit(policy, none));
    CHECK(admit(policy, none));
    CHECK_FALSE(admit(policy, none));
    CHECK(admit(policy, free));
    CHECK(std::get<CubeBudgets>(policy).used_bps(QosId{1}) == 10'000'000);
    release(policy, none);
    CHECK(admit(policy, none));
    release(policy, big);
    release(policy, none);
    release(policy, none);
    release(policy, free);
    CHECK(std::get<CubeBudgets>(policy).used_bps(QosId{1}) == 0);
    const AdmissionRequest huge{QosId{1}, ~std::uint64_t{0}, "u"};
    CHECK_FALSE(admit(policy, huge));
}

TEST_CASE("admission by what an application has already") {
    AnyAdmission policy = made("user", {{"flows", "2"}, {"bandwidth", "10M"}});
    const AdmissionRequest mine{QosId{}, 4'000'000, "me"}, yours{QosId{}, 4'000'000, "you"};
    CHECK(admit(policy, mine));
    CHECK(admit(policy, mine));
    CHECK(admit(policy, {QosId{}, 0, "me"}).error().code == EAGAIN);
    CHECK(admit(policy, yours));
    CHECK_FALSE(admit(policy, {QosId{}, 6'000'001, "you"}));
    release(policy, mine);
    release(policy, mine);
    release(policy, yours);
    CHECK(std::get<UserLimits>(policy).users() == 0);
}

TEST_CASE("admission policies by name") {
    CHECK(admission_error("none", {}) == "made");
    CHECK(admission_error("all", {}).find("none, bandwidth, user") != std::string::npos);
    CHECK(admission_error("none", {{"flows", "1"}}).find("flows") != std::string::npos);
    CHECK(admission_error("bandwidth", {{"cube.1", "much"}}).find("cube.1") != std::string::npos);
    CHECK(admission_error("user", {{"flows", "0"}}).find("flows") != std::string::npos);
    for (const AdmissionPolicy& policy : admission_policies()) CHECK_FALSE(policy.help.empty());
}
