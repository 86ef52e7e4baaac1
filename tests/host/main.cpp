#define BOOST_TEST_MODULE inflight
#include <boost/test/unit_test.hpp>
