"""How the page looks, and its only script: buttons that copy."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;
--paper:#f6f5f1;--card:#fff;--ink:#1c2126;--soft:#59636e;--line:#d9d8d2;--faint:#eeede8;
--bad:#a8201a;--badbg:#fbe9e7;--warn:#8a5a00;--warnbg:#fdf3dc;--good:#1d6b3a;--goodbg:#e6f4ea;
--client:#1f5fa8;--clientbg:#eaf2fb;--server:#5b4a9c;--serverbg:#f0edf9;--mark:#ffd54a;--markink:#241a00;
--mono:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media (prefers-color-scheme:dark){:root{
--paper:#14171a;--card:#1d2125;--ink:#e7e9ea;--soft:#a2abb4;--line:#363c42;--faint:#262b30;
--bad:#ff9a91;--badbg:#3a1d1b;--warn:#f3c567;--warnbg:#352a12;--good:#8fd6a6;--goodbg:#173022;
--client:#8fc1ff;--clientbg:#1a2a3c;--server:#c3b5ff;--serverbg:#282340;--mark:#ffd54a;--markink:#241a00}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","DejaVu Sans",sans-serif}
main,header,footer{max-width:66rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}
h1{font-size:1.05rem;font-weight:600;margin:0;color:var(--soft)}
h2{font-size:1.25rem;line-height:1.35;margin:0 0 .35rem;overflow-wrap:anywhere}
h3{font-size:1rem;margin:0 0 .6rem;display:flex;gap:.6rem;align-items:baseline;flex-wrap:wrap}
h3 small{font-weight:400;color:var(--soft);font-size:.875rem}
p{margin:.35rem 0}
code,pre,.octets,.m{font-family:var(--mono);font-size:.8125rem}
article{background:var(--card);border:1px solid var(--line);border-radius:.75rem;margin:1.25rem 0 2rem;
overflow:hidden}
.head{padding:1.25rem 1.5rem 1rem}
.facts{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:0;padding:0;list-style:none;color:var(--soft);
font-size:.875rem;overflow-wrap:anywhere}
.verdict{margin:0;padding:.9rem 1.5rem;border-block:1px solid var(--line);font-size:1.0625rem;
border-inline-start:.4rem solid}
.verdict b{letter-spacing:.03em}
.bad2{background:var(--badbg);color:var(--bad);border-inline-start-color:var(--bad)}
.bad1{background:var(--warnbg);color:var(--warn);border-inline-start-color:var(--warn)}
.bad0{background:var(--goodbg);color:var(--good);border-inline-start-color:var(--good)}
.verdict span{color:var(--ink)}
section{padding:1.1rem 1.5rem;border-bottom:1px solid var(--line)}
section:last-child{border-bottom:0}
ul.plain,ol.plain{margin:0;padding:0;list-style:none}
ul.plain>li,ol.plain>li{margin:.3rem 0;padding-inline-start:1.1rem;position:relative;overflow-wrap:anywhere}
ul.plain>li::before{content:"";position:absolute;inset-inline-start:.15rem;top:.62em;width:.35rem;height:.35rem;
border-radius:50%;background:var(--soft)}
.cause{display:grid;grid-template-columns:6.2rem 1fr;gap:.1rem .9rem;padding:.55rem 0;
border-top:1px solid var(--faint)}
.cause:first-of-type{border-top:0;padding-top:0}
.badge{justify-self:start;align-self:start;font-size:.8125rem;border:1px solid currentColor;border-radius:1rem;
padding:.05rem .6rem;white-space:nowrap}
.likely{color:var(--bad)}.certain{color:var(--bad);font-weight:700}.possible{color:var(--warn)}
.unlikely{color:var(--soft)}
.cause b{overflow-wrap:anywhere}
.why{color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
.note{border-inline-start:.25rem solid var(--warn);background:var(--warnbg);padding:.5rem .8rem;margin:.5rem 0;
border-radius:.25rem;overflow-wrap:anywhere}
.remedy{margin:.6rem 0 .9rem;padding-inline-start:2rem;position:relative}
.remedy>.n{position:absolute;inset-inline-start:0;top:.1rem;width:1.4rem;height:1.4rem;border-radius:50%;display:grid;
place-items:center;font-size:.75rem;background:var(--faint);color:var(--soft)}
.place{font-size:.8125rem;font-weight:600;color:var(--soft);margin:.7rem 0 .2rem;text-transform:uppercase;
letter-spacing:.05em}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.05rem .8rem;margin:.3rem 0;font-size:.9rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.copy{position:relative;background:var(--faint);border-radius:.4rem;margin:.45rem 0;display:flex;
align-items:flex-start}
.copy pre{margin:0;padding:.6rem .8rem;white-space:pre-wrap;overflow-wrap:anywhere;flex:1;min-width:0}
.copy button{margin:.4rem;font:inherit;font-size:.8125rem;color:var(--ink);background:var(--card);cursor:pointer;
border:1px solid var(--line);border-radius:.3rem;padding:.15rem .7rem}
.copy button:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--client);outline-offset:2px}
.short{padding-block:.7rem}.short dl{margin:0;font-size:1rem}
.log{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:start;padding:.3rem .8rem .3rem 0;border-top:1px solid var(--faint);vertical-align:top;
overflow-wrap:anywhere}
th{font-weight:600;color:var(--soft);border-top:0}.contrast td:first-child{white-space:normal}
tr>:first-child{white-space:nowrap}
td.n,th.n{text-align:end;font-variant-numeric:tabular-nums;white-space:nowrap}
svg{display:block;width:100%;height:.7rem;margin-top:.4rem}
svg .way{fill:var(--faint)}svg .took{fill:var(--client)}svg .long{fill:var(--bad)}
.ends{display:grid;grid-template-columns:6rem 1fr;font-size:.875rem;font-weight:600;margin-bottom:.2rem}
.ends div{display:flex;justify-content:space-between;gap:1rem}
.ends i{font-style:normal;font-weight:400;color:var(--soft);font-family:var(--mono);font-size:.75rem;display:block}
.ends .s{text-align:end;color:var(--server)}.ends .c{color:var(--client)}
ol.ladder{list-style:none;margin:0;padding:0}
.rung{display:grid;grid-template-columns:6rem 1fr}
.when{white-space:nowrap;color:var(--soft);font-size:.75rem;line-height:1.3;padding-top:.55rem;
font-variant-numeric:tabular-nums}
.lane{position:relative;padding:.3rem 0 .55rem;border-inline:2px solid var(--line)}
.say{max-width:84%;width:fit-content;padding:.25rem .7rem 0}
.server .say{margin-inline-start:auto}
.say .label{font-size:.8125rem;color:var(--soft)}
.octets{border-radius:.35rem;padding:.3rem .5rem;margin-top:.1rem}
.client .octets{background:var(--clientbg)}.server .octets{background:var(--serverbg)}
.octets div{display:grid;grid-template-columns:auto 1fr;gap:.7rem}
.octets .at{color:var(--soft);text-align:end;min-width:3.2ch;user-select:none;font-variant-numeric:tabular-nums}
.octets .t{white-space:pre-wrap;overflow-wrap:anywhere;min-width:0}
.raw{color:var(--soft)}
mark{background:var(--mark);color:var(--markink);border-radius:.15rem;padding:0 .1rem;font-weight:700;
box-shadow:0 0 0 1px var(--markink)}
mark .raw{color:inherit}
.arrow{position:relative;height:0;border-top:2px solid var(--client);margin:.4rem .15rem 0}
.server .arrow{border-color:var(--server)}
.arrow::after{content:"";position:absolute;top:-6px;inset-inline-end:-2px;border:5px solid transparent;
border-inline-end-width:0;border-inline-start:8px solid var(--client)}
.server .arrow::after{inset-inline-end:auto;inset-inline-start:-2px;border-inline-start-width:0;
border-inline-end:8px solid var(--server);border-inline-start-color:transparent}
.cut .arrow{width:50%;border-top-style:dashed;border-color:var(--bad)}
.cut .arrow::after{display:none}
.box{position:absolute;inset-inline-start:50%;bottom:-.15rem;transform:translateX(-50%);z-index:1;
background:var(--bad);
color:var(--card);font-size:.75rem;font-weight:600;border-radius:.3rem;padding:.15rem .6rem;white-space:nowrap}
.cut .lane{padding-bottom:.85rem}
.forged .arrow{width:50%;border-color:var(--bad)}
.client.forged .arrow{margin-inline-start:50%}
.client.forged .arrow::after{border-inline-start-color:var(--bad)}
.server.forged .arrow::after{border-inline-end-color:var(--bad)}
.forged .lane{padding-bottom:.85rem}
.ends_ .label,.forged .label{color:var(--bad);font-weight:600}
.note_ .lane{border-inline-style:dotted;text-align:center;color:var(--soft);font-size:.8125rem}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
summary{cursor:pointer;color:var(--soft)}
footer{color:var(--soft);font-size:.875rem;padding-bottom:3rem}
footer dl{grid-template-columns:7rem 1fr}
@media (max-width:40rem){
main,header,footer{padding-inline:.6rem}section,.head,.verdict{padding-inline:.9rem}
.rung,.ends{grid-template-columns:1fr}.when{padding:.4rem 0 .1rem}.ends>span{display:none}.when br{display:none}
.phases th:nth-child(2),.phases td:nth-child(2){display:none}
.say{max-width:96%;padding-inline:.4rem}.cause{grid-template-columns:1fr}.octets div{gap:.45rem}
.octets .at{min-width:0;font-size:.6875rem;line-height:1.9}
dl,footer dl{grid-template-columns:1fr}dd{margin-bottom:.3rem}}
@media print{
:root{color-scheme:light;--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--faint:#eee;--bad:#8c1510;
--badbg:#fff;
--warn:#6b4500;--warnbg:#fff;--good:#144f2a;--goodbg:#fff;--client:#174a85;--clientbg:#f3f7fc;--server:#453879;
--serverbg:#f6f4fb}
body{font-size:10pt}header{padding-top:0}article{border:0;overflow:visible}section,.head,.verdict{padding-inline:0}
.verdict{padding-inline-start:.6rem}.copy button{display:none}.rung,.remedy,.cause,tr{break-inside:avoid}
h3{break-after:avoid}
article+article{break-before:page}mark,.box,svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""

# Without it the page is whole; the button is made here, since without a script it would do nothing.
SCRIPT: Final = """
(function(){"use strict";
function select(node){var range=document.createRange();range.selectNodeContents(node);
var chosen=window.getSelection();chosen.removeAllRanges();chosen.addRange(range);}
function old(node){select(node);try{return document.execCommand("copy");}catch(error){return false;}}
document.querySelectorAll(".copy").forEach(function(frame){
var text=frame.querySelector("pre"),button=document.createElement("button"),said=document.createElement("span");
button.type="button";button.textContent="Copy";said.className="hidden";said.setAttribute("role","status");
function tell(done){button.textContent=done?"Copied":"Selected: Ctrl+C";said.textContent=button.textContent;
setTimeout(function(){button.textContent="Copy";said.textContent="";},2500);}
button.addEventListener("click",function(){
if(navigator.clipboard&&window.isSecureContext){
navigator.clipboard.writeText(text.textContent).then(function(){tell(true);},function(){tell(old(text));});
}else{tell(old(text));}});
frame.append(button,said);});
})();
"""
