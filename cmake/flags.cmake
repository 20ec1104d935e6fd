# What sources are compiled with. The rule behind the floating-point flags: the same bits from every compiler and
# optimisation level, so nothing that lets the compiler change an operation, and no flag that asks for this machine's
# own instruction set.

set(weir_warnings -Wall -Wextra -Wconversion -Wshadow -Wvla -Wundef)
set(weir_library_warnings -Wpedantic -Wstrict-prototypes -Wmissing-prototypes)
if(WEIR_WERROR)
	list(APPEND weir_warnings -Werror)
endif()

# contract=off: a fused multiply-add is where the source writes one. no-math-errno: sqrt and fma are instructions,
# not calls; no bit changes. maytrap (clang; gcc's default): no operation is invented that could raise a flag.
set(weir_fp -ffp-contract=off -fno-math-errno)
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
	list(APPEND weir_fp -ffp-exception-behavior=maytrap)
endif()

# Messages show examples/x.c:41, and a build does not depend on where it is made.
set(weir_paths -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
if(NOT WEIR_COVERAGE) # gcov finds no sources under mapped paths
	list(APPEND weir_paths $<$<CONFIG:Release>:-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=>)
endif()

set(weir_hardening "")
set(weir_hardening_link "")
set(weir_optimised $<CONFIG:Release,RelWithDebInfo,MinSizeRel>)
if(WEIR_HARDEN AND NOT WEIR_SANITIZE AND NOT WEIR_COVERAGE)
	list(APPEND weir_hardening -fstack-protector-strong -fstack-clash-protection
		$<${weir_optimised}:-U_FORTIFY_SOURCE> $<${weir_optimised}:-D_FORTIFY_SOURCE=3>)
	if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
		list(APPEND weir_hardening -fcf-protection=full)
	endif()
	if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
		list(APPEND weir_hardening_link -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
	endif()
endif()

set(weir_instruments "")
set(weir_instruments_link "")
if(WEIR_SANITIZE)
	list(APPEND weir_instruments -fsanitize=${WEIR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
	list(APPEND weir_instruments_link -fsanitize=${WEIR_SANITIZE})
endif()
if(WEIR_COVERAGE)
	list(APPEND weir_instruments --coverage -fprofile-update=atomic)
	list(APPEND weir_instruments_link --coverage)
endif()

function(weir_common_flags target)
	set_target_properties(${target} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF
		POSITION_INDEPENDENT_CODE ON)
	target_compile_definitions(${target} PRIVATE _DEFAULT_SOURCE) # POSIX next to strict C11
	target_compile_options(${target} PRIVATE ${weir_warnings} ${weir_fp} ${weir_paths} ${weir_hardening}
		${weir_instruments})
endfunction()

# Library sources: hidden symbols, private headers, and the plain functions instead of the source-line macros.
function(weir_library_flags target)
	weir_common_flags(${target})
	set_target_properties(${target} PROPERTIES C_VISIBILITY_PRESET hidden)
	target_compile_options(${target} PRIVATE ${weir_library_warnings} -fno-semantic-interposition)
	target_compile_definitions(${target} PRIVATE WEIR_NO_HERE)
	target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include
		${PROJECT_BINARY_DIR}/include)
endfunction()

function(weir_program_flags target)
	weir_common_flags(${target})
	target_link_options(${target} PRIVATE ${weir_hardening_link} ${weir_instruments_link})
endfunction()

# The shared library: SONAME with major.minor while 0.x, exports by the version script, no undefined symbol left.
function(weir_shared_properties target output)
	set_target_properties(${target} PROPERTIES OUTPUT_NAME ${output} VERSION ${PROJECT_VERSION}
		SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} LINKER_LANGUAGE C
		LINK_DEPENDS ${PROJECT_BINARY_DIR}/weir.map)
	target_link_options(${target} PRIVATE ${weir_hardening_link} ${weir_instruments_link})
	if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
		# nodelete: a worker thread may be about to leave the code that dlclose() would unmap
		target_link_options(${target} PRIVATE -Wl,--version-script=${PROJECT_BINARY_DIR}/weir.map -Wl,-z,nodelete)
		if(NOT WEIR_SANITIZE)
			target_link_options(${target} PRIVATE -Wl,-z,defs)
		endif()
	endif()
endfunction()
