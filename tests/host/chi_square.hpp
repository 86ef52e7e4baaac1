// Whether counts are those that probabilities make.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace inflight::tests {

// Adds up what chi-square is made of; neighbouring bins with few expected hits are put together.
class chi_square {
  public:
    void add(double expected, double found) {
        if (bins_.empty() || bins_.back().first >= least) {
            bins_.emplace_back(0, 0);
        }
        bins_.back().first += expected;
        bins_.back().second += found;
    }

    // How far the sum is above its mean, in standard deviations (Wilson and Hilferty's approximation): above 5 is no chance.
    // All hits must have been added. 0 if there are not two bins.
    [[nodiscard]] double deviation() {
        if (bins_.size() > 1 && bins_.back().first < least) {
            const auto [expected, found] = bins_.back();
            bins_.pop_back();
            bins_.back().first += expected;
            bins_.back().second += found;
        }
        if (bins_.size() < 2) {
            return 0;
        }
        double sum = 0;
        for (const auto& [expected, found] : bins_) {
            sum += (found - expected) * (found - expected) / expected;
        }
        const double freedom = static_cast<double>(bins_.size()) - 1;
        return (std::cbrt(sum / freedom) - (1 - 2 / (9 * freedom))) / std::sqrt(2 / (9 * freedom));
    }

  private:
    static constexpr double least = 30;
    std::vector<std::pair<double, double>> bins_; // expected, found
};

// The deviation of counts that should all be equal.
inline double deviation_from_uniform(const std::vector<std::uint64_t>& counts) {
    double all = 0;
    for (const std::uint64_t each : counts) {
        all += static_cast<double>(each);
    }
    chi_square sum;
    for (const std::uint64_t each : counts) {
        sum.add(all / static_cast<double>(counts.size()), static_cast<double>(each));
    }
    return sum.deviation();
}

} // namespace inflight::tests
