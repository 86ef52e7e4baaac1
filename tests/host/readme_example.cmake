# Writes the C++ example of the README into a file that can be compiled: cmake -DREADME=… -DOUTPUT=… -P readme_example.cmake
file(READ ${README} text)
string(FIND "${text}" "```cpp" begin)
string(SUBSTRING "${text}" ${begin} -1 text)
string(FIND "${text}" "\n" begin)
string(SUBSTRING "${text}" ${begin} -1 text)
string(FIND "${text}" "```" end)
string(SUBSTRING "${text}" 0 ${end} example)
file(WRITE ${OUTPUT} "// From README.md.\nnamespace inflight {\nnamespace {\n${example}\n} // namespace\n} // namespace inflight\n")
